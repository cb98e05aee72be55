"""scVI and scANVI: seeded, quiet, blind to what they must not see, and better than chance on planted cells."""

import random
from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.evidence import Evidence
from scrutiny.data.synth import planted
from scrutiny.methods.linear import HvgPca
from scrutiny.methods.variational import MAX_EPOCHS, MIN_EPOCHS, Scanvi, Scvi, epochs_for
from scrutiny.testing import check_embedder


@pytest.mark.parametrize(("n_cells", "epochs"), [(700, MAX_EPOCHS), (2_500, 400), (5_000, 200), (20_000, 50), (1_000_000, MIN_EPOCHS)])
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
    blind = cells.hide("label")
    scores = []
    for method in (HvgPca(), Scvi(n_latent=10, max_epochs=300)):
        values = method.fit(blind, seed=0).embed(blind).values
        scores.append(Evidence({"embedding": values, "labels": cells.role("label"), "batch": cells.role("batch")}))
    before, after = scores
    assert after["knn_purity"] > 0.95
    assert before["ilisi"] < 0.1
    assert after["ilisi"] > 0.5


@pytest.mark.slow
def test_scanvi_learns_from_training_labels_and_embeds_a_batch_it_has_not_seen():
    """Purity in the unseen batch, labels hardly planted: 0.45 without labels, 0.82 with them, 0.41 with wrong ones."""
    pytest.importorskip("scvi")
    cells = planted(400, 100, label_effect=0.15, batch_effect=0.2)
    unseen = cells.role("batch") == "batch_1"
    train, query = cells.take(np.flatnonzero(~unseen)), cells.take(np.flatnonzero(unseen))
    wrong = train.obs.assign(cell_type=np.random.default_rng(0).permutation(train.obs["cell_type"].to_numpy()))

    def purity(method, data):
        values = method(n_latent=5, max_epochs=40).fit(data, seed=0).embed(query.hide("label")).values
        return Evidence({"embedding": values, "labels": query.role("label")})["knn_purity"]

    taught = purity(Scanvi, train)
    assert taught > purity(Scvi, train.hide("label")) + 0.2
    assert taught > purity(Scanvi, replace(train, obs=wrong)) + 0.2


@pytest.mark.slow
def test_scanvi_tells_labels_and_leaves_unlabelled_cells_out_of_its_classifier():
    pytest.importorskip("scvi")
    cells = planted(300, 100, label_effect=1.0)
    hidden = cells.obs["cell_type"].where(np.arange(300) % 2 == 0, "")
    some = replace(cells, obs=cells.obs.assign(cell_type=hidden))
    method = Scanvi(n_latent=5, max_epochs=60).fit(some, seed=0)
    found = method.predict_labels(cells.hide("label")).aligned_to(cells.cell_ids)
    assert found.label_names.tolist() == sorted(set(cells.role("label"))), "no label is made of those that nobody labelled"
    assert (found.labels == cells.role("label")).mean() > 0.8
    assert method.n_trainable > 1000


@pytest.mark.slow
@pytest.mark.parametrize("method", [Scvi, Scanvi])
def test_contract(method):
    pytest.importorskip("scvi")
    check_embedder(lambda: method(n_latent=5, max_epochs=2))
