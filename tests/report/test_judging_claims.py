"""Claims of the literature on made-up stores with a planted truth: every answer, and that contradictions are never both confirmed."""

import pytest
from made_annotation import PUBLISHED, ZERO, MadeAnnotation, write_annotation
from made_stores import MadeStore, write

from scrutiny.core.errors import InputError
from scrutiny.report.claims import answered, disputes, judge
from scrutiny.report.gather import gather
from scrutiny.report.intervals import Interval
from scrutiny.report.literature import claims_of, literature

ADAPTED_IS_BETTER = {
    "id": "A",
    "statement": "Fine-tuning is better than cheap methods.",
    "where": "here",
    "test": {"tasks": ["annotation*"], "first": {"kind": "adapted"}, "says": "better", "second": {"kind": "cheap"}},
}
NO_BETTER = {
    "id": "B",
    "statement": "Fine-tuning is no better than cheap methods.",
    "where": "there",
    "contradicts": ["A"],
    "test": {"tasks": ["annotation*"], "first": {"kind": "adapted"}, "says": "no better", "second": {"kind": "cheap"}},
}
CHEAP = {"hvg_pca+logreg": 0.7, "majority": 0.25}


def claims(*told):
    return claims_of([{"work": "Somebody 2020", "claim": list(told)}])


def judged(folder, right, told, facts=PUBLISHED, **made):
    models = tuple(name for name in right if "net" in name)
    store = write_annotation(folder / "r", MadeAnnotation(right, models, facts=dict.fromkeys(models, facts), **made))
    return {one.claim.id: one for one in judge(gather([store]), claims(*told))}


@pytest.mark.parametrize(
    ("share", "of_better", "of_no_better"),
    [(0.95, "confirmed", "contradicted"), (0.4, "contradicted", "confirmed"), (0.71, "undecided", "undecided")],
)
def test_the_planted_difference_decides(tmp_path, share, of_better, of_no_better):
    found = judged(tmp_path, CHEAP | {"net+lora": share}, [ADAPTED_IS_BETTER, NO_BETTER])
    assert (found["A"].answer, found["B"].answer) == (of_better, of_no_better)
    row = found["A"].rows[0]
    assert (row.first, row.second) == ("net+lora", "hvg_pca+logreg")
    assert row.difference.estimate == pytest.approx(share - 0.7, abs=0.02)
    assert "net+lora" in str(row) and "made · annotation" in str(row)


def test_weights_that_are_not_the_published_ones_decide_nothing(tmp_path):
    found = judged(tmp_path, CHEAP | {"net+lora": 0.95}, [ADAPTED_IS_BETTER], facts={"weights": {"published": False}})
    assert found["A"].answer == "not testable" and "published" in found["A"].because and not found["A"].rows


def test_other_weights_answer_for_themselves_where_that_is_asked(tmp_path):
    models = {"net+lora": {"weights": {"published": False}}}
    store = write_annotation(tmp_path / "r", MadeAnnotation(CHEAP | {"net+lora": 0.95}, ("net+lora",), facts=models))
    (found,) = judge(gather([store]), claims(ADAPTED_IS_BETTER), any_weights=True)
    assert found.answer == "confirmed" and found.rows[0].first == "net+lora"


def test_what_is_lacking_is_named(tmp_path):
    of_few = {**ADAPTED_IS_BETTER, "id": "C", "test": {**ADAPTED_IS_BETTER["test"], "tasks": ["annotation_few_1"]}}
    of_scgpt = {**ADAPTED_IS_BETTER, "id": "D", "test": {**ADAPTED_IS_BETTER["test"], "first": {"kind": "adapted", "nets": ["scgpt"]}}}
    many = {**ADAPTED_IS_BETTER, "id": "E", "test": {**ADAPTED_IS_BETTER["test"], "least_cells": 10000}}
    batches = {**ADAPTED_IS_BETTER, "id": "F", "test": {**ADAPTED_IS_BETTER["test"], "least_batches": 3}}
    rule = {"id": "G", "statement": "Be careful.", "where": "here", "because": "nothing to measure"}
    found = judged(tmp_path, CHEAP | {"net+lora": 0.95}, [of_few, of_scgpt, many, batches, rule])
    assert {one.answer for one in found.values()} == {"not testable"}
    for id_, word in {
        "C": "annotation_few_1",
        "D": "fine-tuned scgpt",
        "E": "400 cells",
        "F": "2 batches",
        "G": "nothing to measure",
    }.items():
        assert word in found[id_].because, id_


def test_few_labelled_cells_are_counted_by_the_split(tmp_path):
    few = {**ADAPTED_IS_BETTER, "id": "C", "test": {**ADAPTED_IS_BETTER["test"], "most_cells": 100}}
    right = CHEAP | {"net+lora": {"annotation": 0.4, "annotation_few_10": 0.95}}
    found = judged(tmp_path, right, [few], tasks=("annotation", "annotation_few_10"))
    assert found["C"].answer == "confirmed" and [row.where for row in found["C"].rows] == ["made · annotation few 10 · labels cell_type"]


def test_rows_that_disagree_leave_it_open(tmp_path):
    right = CHEAP | {"net+lora": {"annotation": 0.4, "annotation_few_10": 0.95}}
    found = judged(tmp_path, right, [ADAPTED_IS_BETTER], tasks=("annotation", "annotation_few_10"))
    assert found["A"].answer == "undecided" and "it depends" in found["A"].because and len(found["A"].rows) == 2


def test_sides_of_one_net_are_paired_net_by_net(tmp_path):
    same = {"tasks": ["annotation"], "first": {"kind": "adapted"}, "says": "better", "second": {"kind": "frozen"}, "same_net": True}
    claim = {"id": "H", "statement": "Fine-tuning helps.", "where": "here", "test": same}
    right = CHEAP | {"net_a+lora": 0.9, "net_a+knn": 0.5, "net_b+lora": 0.8, "net_c+knn": 0.95}
    found = judged(tmp_path, right, [claim], facts=PUBLISHED)["H"]
    assert found.answer == "confirmed" and [(row.first, row.second) for row in found.rows] == [("net_a+lora", "net_a+knn")]


def test_opposite_claims_are_never_both_confirmed(tmp_path):
    """On rows of their own each of the two would be."""
    on_full = {**ADAPTED_IS_BETTER, "test": {**ADAPTED_IS_BETTER["test"], "tasks": ["annotation"]}}
    on_few = {**NO_BETTER, "test": {**NO_BETTER["test"], "tasks": ["annotation_few_10"]}}
    right = CHEAP | {"net+lora": {"annotation": 0.95, "annotation_few_10": 0.4}}
    found = judged(tmp_path, right, [on_full, on_few], tasks=("annotation", "annotation_few_10"))
    assert found["A"].answer == found["B"].answer == "undecided"
    assert "those of B for the opposite" in found["A"].because and "those of A" in found["B"].because


def test_no_difference_confirms_two_opposite_claims():
    """Any interval at all: `better` and `no better` of the same sides exclude each other, and so do both directions."""
    for low in (-0.2, -0.05, -0.01, 0.0, 0.005, 0.015, 0.03):
        for width in (0.001, 0.01, 0.05, 0.3):
            one = Interval(low + width / 2, low, low + width, 0.1, 9, 0.5)
            other = Interval(-one.estimate, -one.high, -one.low, 0.1, 9, 0.5)
            assert [answered(one, "better"), answered(one, "no better")].count("confirmed") <= 1
            assert [answered(one, "better"), answered(other, "better")].count("confirmed") <= 1
    assert answered(None, "better") == "undecided"


def test_what_contradicts_is_contradicted():
    first, second = claims(ADAPTED_IS_BETTER, NO_BETTER)
    assert first.contradicts == ("B",) and second.contradicts == ("A",)


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        ({**ADAPTED_IS_BETTER, "because": "of this"}, "either a test or why"),
        ({**NO_BETTER}, "what does not exist"),
        ({**ADAPTED_IS_BETTER, "test": {**ADAPTED_IS_BETTER["test"], "says": "worse"}}, "not 'worse'"),
        ({**ADAPTED_IS_BETTER, "test": {**ADAPTED_IS_BETTER["test"], "first": {"kind": "magic"}}}, "not 'magic'"),
        ({**ADAPTED_IS_BETTER, "test": {**ADAPTED_IS_BETTER["test"], "cells": 5}}, "not known"),
    ],
)
def test_a_broken_file_is_refused(broken, word):
    with pytest.raises(InputError, match=word):
        claims(broken)


def test_the_literature_can_be_read():
    found = literature()
    by_id = {claim.id: claim for claim in found}
    assert {f"R{i}" for i in range(1, 28)} | {f"K{i}" for i in range(1, 26)} | {f"Q{i}" for i in range(1, 18)} <= by_id.keys()
    assert all(claim.statement.endswith(".") and claim.where and claim.work for claim in found)
    assert by_id["R4"].contradicts == ("R3b",) and "Z5" in by_id["Q19"].contradicts


def test_the_literature_on_a_store(tmp_path):
    right = CHEAP | {"scgpt+lora": 0.95, "scgpt+knn": 0.5, "control/untrained_scgpt+lora": 0.4}
    made = MadeAnnotation(right, ("scgpt+lora", "scgpt+knn"), facts={"scgpt+lora": PUBLISHED, "scgpt+knn": PUBLISHED | ZERO})
    found = {one.claim.id: one.answer for one in judge(gather([write_annotation(tmp_path / "r", made)]))}
    assert found["R9b"] == "confirmed" and found["R9c"] == "contradicted"  # fine-tuning pays here
    assert found["R20"] == "confirmed" and found["R3b"] == "confirmed" and found["R4"] == "contradicted"
    assert found["Q19"] == "confirmed" and found["Z5"] == "contradicted" and found["R16"] == "not testable"


def test_claims_on_cheap_methods_need_no_model(tmp_path):
    """HVG 0.9 and scVI 0.6: two claims that contradict each other, one confirmed, one contradicted."""
    made = MadeStore(methods={"hvg": 0.9, "scvi": 0.6, "harmony": 0.6}, tasks=("cell_types",), with_outputs=False)
    found = {one.claim.id: one.answer for one in judge(gather([write(tmp_path / "r", made)]))}
    assert (found["K27"], found["K28"]) == ("confirmed", "contradicted")
    assert found["Q21"] == "not testable"  # no integration was scored


def test_what_contradicts_stands_together_and_decided_claims_come_first(tmp_path):
    made = MadeStore(methods={"hvg": 0.9, "scvi": 0.6, "harmony": 0.6}, tasks=("cell_types",), with_outputs=False)
    groups = [[one.claim.id for one in group] for group in disputes(judge(gather([write(tmp_path / "r", made)])))]
    assert groups[0] == ["K27", "K28"] and sorted(id_ for group in groups for id_ in group) == sorted(claim.id for claim in literature())
