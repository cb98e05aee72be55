"""Every family and every way to adapt it: it starts as the frozen model, trains what it says and nothing else, or says why not."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_adapted import WAYS, adapted, cells, folder_of

from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.registry import METHODS
from scrutiny.methods.foundation.adapting import over_cells, subject_and_anatomy
from scrutiny.methods.foundation.drafts import LAYOUTS
from scrutiny.tuning.adaptation.ways import merge

PAGE = Path(__file__).parents[3] / "docs" / "ADAPTATION.md"
NOT_APPLICABLE = {("scimilarity", "adapters"), ("scimilarity", "ia3")}
"""A multilayer perceptron has neither attention nor a feed-forward net."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", LAYOUTS)
def test_each_way_trains_what_it_says_in_each_family(family, way, tmp_path):
    method, train, query = adapted(family, way, tmp_path, epochs=2, learning_rate=3e-3), cells(), cells(24, seed=1)
    if (family, way) in NOT_APPLICABLE:
        with pytest.raises(NotApplicable, match="of a transformer; the layers of ScimilarityNet are none"):
            method.fit(train, seed=0)
        return
    before = METHODS.get(family)(folder_of(family), device="cpu").with_seed(0).net.state_dict()
    method.fit(train, seed=0)
    told = method.predict_labels(query).aligned_to(query.cell_ids)
    assert told.label_names.tolist() == ["a", "b", "c"]
    assert method.n_trainable == sum(x.numel() for x in method.opened.head.parameters()) + of_net(family, way, method)
    after = method.adapted.net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    still = {name for name, weight in before.items() if way == "ia3" and not weight.any()}  # 0 times anything: biases of an untrained BERT
    assert changed == expected_changes(family, way, method) - still


def of_net(family, way, method):
    """Numbers of the net that are trained: by formula where the last layer is used, else by the shapes of what is trained."""
    d, ff, n_layers, rank, width = 16, 24, 2, 8, 64
    formulas = {
        "lora": n_layers * rank * (4 * (d + d) + 2 * (d + ff)),
        "ia3": n_layers * (2 * d + ff),
        "adapters": n_layers * 2 * (2 * d * width + width + d),
    }
    if family in ("scgpt", "langcell", "nicheformer", "genecompass", "uce") and way in formulas:
        return formulas[way]
    if family == "scimilarity" and way == "lora":  # of two hidden layers the first reads genes and is no such matrix
        return 2 * rank * d
    held = load_file(method.folder / "adapter.safetensors")
    return sum(tensor.numel() for name, tensor in held.items() if not name.startswith("head/"))


def expected_changes(family, way, method):
    """Weights of the net that are not what they were, by their names before anything was put in."""
    net, trained = method.adapted.net, method.opened.trained
    if way in ("full", "last"):
        return {name for name in trained if name in net.state_dict()} - untouched(net, trained, family)
    if way == "adapters":
        return set()
    owners = {name.rpartition(".")[0] for name in trained}
    biases = {f"{owner}.bias" for owner in owners if way == "ia3" and owner.endswith("qkv") and f"{owner}.bias" in net.state_dict()}
    return {f"{owner}.weight" for owner in owners} | biases


def untouched(net, trained, family):
    """Weights that a gradient reaches, but is 0 in: vectors of values that mean "hidden" and "nothing"."""
    return {name for name in trained if re.search(r"values\.(masked|padded)\.", name)} if family == "scfoundation" else set()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["geneformer", "scbert", "cellplm"])
def test_a_way_starts_where_the_frozen_net_is(family, way, tmp_path):
    """Of the three kinds of attention: what is put in changes no bit of a vector, or none but the last."""
    method, data = adapted(family, way, tmp_path), cells(20)
    model = method.model.with_seed(0)
    subject, found = subject_and_anatomy(model, data)
    plain = over_cells(model, subject, data, subject.cells, seed=0)
    method.way.open(subject.net, found, seed=0, few=False)
    np.testing.assert_allclose(over_cells(model, subject, data, subject.cells, seed=0), plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("way", ["lora", "ia3"])
@pytest.mark.parametrize("family", ["geneformer", "scgpt", "scbert", "uce"])
def test_merged_is_as_unmerged(family, way, tmp_path):
    method, data = adapted(family, way, tmp_path), cells(20)
    model = method.model.with_seed(0)
    subject, found = subject_and_anatomy(model, data)
    trained = method.way.open(subject.net, found, seed=0, few=False)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in subject.net.named_parameters():
            if name in trained:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    apart = over_cells(model, subject, data, subject.cells, seed=0)
    merge(subject.net)
    np.testing.assert_allclose(over_cells(model, subject, data, subject.cells, seed=0), apart, rtol=0, atol=2e-5)
    assert subject.net.state_dict().keys() == METHODS.get(family)(folder_of(family), device="cpu").with_seed(0).net.state_dict().keys()


def test_the_page_has_the_table_of_families_and_ways(tmp_path):
    """What the page says of each family and way is what the tests above find."""
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in PAGE.read_text().splitlines()
        if "|" in line
    }
    for family in LAYOUTS:
        assert rows[f"`{family}`"] == ["no" if (family, way) in NOT_APPLICABLE else "yes" for way in WAYS], family


def test_what_is_no_net_is_not_adapted():
    with pytest.raises(InputError, match=r"lora adapts nets, and hvg_pca is none; take a head such as hvg_pca\+logreg"):
        METHODS.get("hvg_pca+lora")


def test_official_batches_are_not_adapted(tmp_path):
    with pytest.raises(InputError, match="only 'alone' is adapted"):
        adapted("uce", "lora", tmp_path, compat="official")
