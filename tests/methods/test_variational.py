"""scVI and scANVI: seeded, quiet, blind to what they must not see, and better than chance on planted cells."""

import random
from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.evidence import Evidence
from scrutiny.data.synth import planted
from scrutiny.methods.variational import MAX_EPOCHS, MIN_EPOCHS, Scanvi, Scvi, epochs_for
from scrutiny.testing import check_embedder


@pytest.mark.parametrize(("n_cells", "epochs"), [(700, MAX_EPOCHS), (5_000, 200), (20_000, 50), (1_000_000, MIN_EPOCHS)])
def test_epochs_fall_with_the_number_of_cells(n_cells, epochs):
    assert epochs_for(n_cells) == epochs


def test_scvi_without_batches_is_seeded_quiet_and_leaves_no_trace(capfd, tmp_path, monkeypatch):
    """129 cells leave a last mini-batch of one, which batch normalisation refuses."""
    pytest.importorskip("scvi")
    import torch

    monkeypatch.chdir(tmp_path)
    cells = planted(129, 40, n_batches=1).hide("label", "batch")
    torch.manual_seed(7)
    before = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    first, second = (Scvi(n_latent=5, max_epochs=2).fit(cells, seed=3).embed(cells) for _ in range(2))
    after = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
    np.testing.assert_array_equal(first.values, second.values)
    assert first.values.shape == (129, 5)
    assert before[0] == after[0]
    assert repr(before[1]) == repr(after[1])
    assert torch.equal(before[2], after[2])
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_scvi_finds_planted_labels_and_mixes_batches():
    pytest.importorskip("scvi")
    cells = planted(400, 200, label_effect=0.7, batch_effect=0.5)
    values = Scvi(n_latent=10, max_epochs=60).fit(cells.hide("label"), seed=0).embed(cells.hide("label")).values
    evidence = Evidence({"embedding": values, "labels": cells.role("label"), "batch": cells.role("batch")})
    assert evidence["knn_purity"] > 0.9
    assert evidence["ilisi"] > 0.3


@pytest.mark.slow
def test_scanvi_uses_training_labels_and_embeds_batches_it_has_not_seen():
    pytest.importorskip("scvi")
    cells = planted(300, 100, n_batches=3, label_effect=0.5)
    train = cells.take(np.flatnonzero(cells.role("batch") != "batch_2"))
    seen = Scanvi(n_latent=5, max_epochs=20).fit(train, seed=0).embed(cells.hide("label"))
    wrong = np.random.default_rng(0).permutation(train.obs["cell_type"].to_numpy())
    misled = Scanvi(n_latent=5, max_epochs=20).fit(_relabelled(train, wrong), seed=0).embed(cells.hide("label"))
    purity = [Evidence({"embedding": e.values, "labels": cells.role("label")})["knn_purity"] for e in (seen, misled)]
    assert purity[0] > purity[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", [Scvi, Scanvi])
def test_contract(method):
    pytest.importorskip("scvi")
    check_embedder(lambda: method(n_latent=5, max_epochs=2))


def _relabelled(cells, labels):
    return replace(cells, obs=cells.obs.assign(cell_type=labels))
