"""Summary scores: their parts, weights, and what happens when a part is not applicable or fails."""

import numpy as np
import pytest

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.registry import METRICS

BIO = {"nmi_leiden": 0.8, "ari_leiden": 0.6, "asw_label": 0.5, "clisi": 0.9}
BATCH = {"bras": 0.7, "ilisi": 0.1, "graph_connectivity": 0.9}


def test_avg_bio_is_the_mean_of_three():
    """Published rows of the zero-shot paper's notebooks: scGPT and Geneformer on pancreas."""
    avg_bio = METRICS.get("avg_bio")
    assert avg_bio(0.575922, 0.384832, 0.527416) == pytest.approx(0.496057, abs=1e-6)
    assert avg_bio(0.091457, 0.023780, 0.323220) == pytest.approx(0.146152, abs=1e-6)


def test_the_total_by_hand():
    isolated, optional = {"isolated_asw": 0.4}, {"kbet_label": 0.3, "pcr_comparison": 0.5}
    e = Evidence({**BIO, **BATCH, **isolated, **optional})
    assert e["scib_bio"] == pytest.approx(3.2 / 5)
    assert e["scib_batch"] == pytest.approx(2.5 / 5)
    assert e["scib_total"] == pytest.approx(0.6 * 0.64 + 0.4 * 0.5)
    assert e.measure("scib_total").details["parts"] == {**BIO, **isolated, **BATCH, **optional}


def test_parts_that_do_not_apply_are_left_out_and_seen_to_be():
    e = Evidence({**BIO, **BATCH})
    assert e["scib_total"] == pytest.approx(0.6 * 0.7 + 0.4 * 1.7 / 3)
    assert e.measure("scib_bio").details["parts"] == BIO
    assert e.measure("scib_batch").details["parts"] == BATCH


@pytest.mark.parametrize("missing", [*BIO, *BATCH])
def test_without_one_of_the_parts_that_always_apply_there_is_no_total(missing):
    given = {name: value for name, value in {**BIO, **BATCH}.items() if name != missing}
    with pytest.raises(NotApplicable, match="needs"):
        Evidence(given)["scib_total"]


def random_evidence(n_cells=150, n_batches=2, **more):
    rng = np.random.default_rng(0)
    labels, batch = np.arange(n_cells) % 3, rng.integers(0, n_batches, n_cells)
    embedding = (8.0 * np.eye(3)[labels] + rng.normal(size=(n_cells, 3))).astype(np.float32)
    return Evidence({"embedding": embedding, "labels": labels.astype(str), "batch": batch.astype(str), **more})


def test_it_works_from_an_embedding_alone_and_says_what_went_in():
    parts = random_evidence().measure("scib_total").details["parts"]
    assert {*BIO, *BATCH} <= parts.keys()
    assert not {"isolated_asw", "pcr_comparison"} & parts.keys(), "no label is isolated; there is no reference"


def test_a_failing_part_fails_the_total():
    """A reference of the wrong length is a bug, not a property of the data."""
    with pytest.raises(ValueError, match="shape|broadcast|length|dimension|size"):
        random_evidence(reference=np.ones((7, 2), np.float32))["scib_total"]


def test_one_batch_has_no_batch_score_and_no_total_but_a_bio_score():
    e = random_evidence(n_batches=1)
    assert e["scib_bio"] > 0.9
    for name in ("scib_batch", "scib_total"):
        with pytest.raises(NotApplicable, match="batch"):
            e[name]


def test_bounds_hold_for_the_worst_and_the_best_parts():
    for value, ari in ((0.0, -0.5), (1.0, 1.0)):
        e = Evidence({name: value for name in (*BIO, *BATCH, "nmi_louvain")} | {"ari_leiden": ari, "ari_louvain": ari})
        for name in ("avg_bio", "scib_bio", "scib_batch", "scib_total"):
            card = METRICS.get(name).card
            assert e[name] == pytest.approx(card.low if value == 0 else card.high)


def test_what_rests_on_a_label_tuned_part_is_label_tuned():
    for name in ("avg_bio", "scib_bio", "scib_total"):
        assert METRICS.get(name).card.label_tuned
    assert not METRICS.get("scib_batch").card.label_tuned
