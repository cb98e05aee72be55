"""Confounding of label and batch: hand-sized tables, scipy's value, and the real sets that are known to have it."""

import numpy as np
import pytest
from scipy.stats.contingency import association

from scrutiny.core.dataset import from_arrays
from scrutiny.core.errors import NotApplicable
from scrutiny.data.confounding import confounding, technical_twins
from scrutiny.data.read import read
from scrutiny.data.synth import planted


def test_one_determines_the_other():
    facts = confounding(np.array(["a", "a", "b"]), np.array(["1", "1", "2"]))
    assert facts.cramers_v == pytest.approx(1.0) and facts.is_complete
    assert facts.labels_in_one_batch == ("a", "b") and facts.batches_of_one_label == ("1", "2")


def test_independent():
    facts = confounding(np.array(["a", "a", "b", "b"]), np.array(["1", "2", "1", "2"]))
    assert facts.cramers_v == 0.0 and not facts.is_complete and facts.labels_in_one_batch == ()


def test_cramers_v_is_that_of_scipy():
    rng = np.random.default_rng(0)
    labels, batches = rng.choice(list("abcd"), 300), rng.choice(list("xyz"), 300)
    table = np.array([[(labels[batches == b] == a).sum() for b in "xyz"] for a in "abcd"])
    assert confounding(labels, batches).cramers_v == pytest.approx(association(table, method="cramer"), rel=1e-9)


@pytest.mark.parametrize(("labels", "batches"), [(["a", "a"], ["1", "2"]), (["a", "b"], ["1", "1"])])
def test_one_label_or_one_batch(labels, batches):
    with pytest.raises(NotApplicable, match="needs two labels and two batches; found"):
        confounding(np.array(labels), np.array(batches))


def test_a_technical_column_that_copies_the_label_is_found():
    source = planted(n_cells=30)
    obs = source.obs.assign(channel=source.obs["cell_type"].map({"type_0": 2, "type_1": 0, "type_2": 1}), ontology=source.obs["cell_type"])
    data = from_arrays("cells", source.values, obs, source.genes, roles=source.roles)
    assert technical_twins(data) == ("channel",)
    assert technical_twins(source) == () == technical_twins(source.with_roles(label=None))


def test_real_sets(shared_data):
    study = read(shared_data / "pbmc_multistudy.h5ad", roles={"label": "cell_type", "batch": "batch"})
    assert confounding(study.role("label"), study.role("batch")).labels_in_one_batch == ("CD34+",)
    assert technical_twins(read(shared_data / "zheng_facs.h5ad", roles={"label": "cell_type"})) == ("sort",)
