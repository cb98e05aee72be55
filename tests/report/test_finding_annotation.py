"""Findings about told labels, each with a planted case that has it and one that has not."""

from dataclasses import replace

import pytest
from made_annotation import PROBE, MadeAnnotation, write_annotation

from scrutiny.core.scores import Score, Status
from scrutiny.report.facts import Confounding
from scrutiny.report.finding_annotation import LABEL_CHECKS, LabelsCase, unseen_accepted
from scrutiny.report.gather import gather

CHEAP = {"hvg_pca+logreg": 0.8}


def case_of(folder, right, **made) -> LabelsCase:
    models = tuple(name for name in right if name.startswith("net"))
    facts = {name: PROBE for name in models if name.endswith("+logreg")}
    gathered = gather([write_annotation(folder / "r", MadeAnnotation(right, models, facts=facts, **made))])
    return gathered._labels_case(gathered.annotated[0])


def found(case: LabelsCase):
    return {finding.code: finding for check in LABEL_CHECKS for finding in check(case)}


@pytest.mark.parametrize(("near", "is_told"), [(0.95, True), (0.81, False)])
def test_a_random_split_that_promises_more_is_told(tmp_path, near, is_told):
    right = {"hvg_pca+logreg": {"annotation": 0.8, "annotation_random": near}}
    told = found(case_of(tmp_path, right, tasks=("annotation", "annotation_random")))
    assert ("SCR026" in told) == is_told
    if is_told:
        assert "hvg_pca+logreg 0.95 instead of 0.80" in told["SCR026"].evidence


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"confounding": {"cell_type": Confounding(technical_twins=("channel",))}}, "each type is one channel"),
        ({"label_origin": "sorted", "batch_counts": {}}, "come from sorting"),
        ({}, None),
    ],
)
def test_types_that_are_channels_are_told_as_a_problem(tmp_path, facts, word):
    case = case_of(tmp_path, CHEAP)
    told = found(replace(case, facts=replace(case.facts, **facts)))
    assert (told["SCR027"].severity, word in told["SCR027"].evidence) == ("problem", True) if word else "SCR027" not in told


@pytest.mark.parametrize(("share", "is_told"), [(0.5, True), (0.79, False), (0.9, False)])
def test_an_adaptation_that_is_worse_than_the_frozen_net_is_told(tmp_path, share, is_told):
    told = found(case_of(tmp_path, CHEAP | {"net+lora": share, "net+logreg": 0.8, "net2+logreg": 0.95}))
    assert ("SCR028" in told) == is_told
    if is_told:
        assert "from net+logreg" in told["SCR028"].evidence


@pytest.mark.parametrize(("labelled", "is_told"), [(9, True), (10, False)])
def test_types_learnt_from_next_to_nothing_are_told(tmp_path, labelled, is_told):
    told = found(case_of(tmp_path, CHEAP, labelled=labelled))
    assert ("SCR029" in told) == is_told


@pytest.mark.parametrize(("confidence", "is_told"), [(0.97, True), (0.8, False)])
def test_probabilities_that_mislead_are_told(tmp_path, confidence, is_told):
    told = found(case_of(tmp_path, CHEAP, confidence=confidence, metrics=("macro_f1", "ece")))
    assert ("SCR031" in told) == is_told
    if is_told:
        assert "hvg_pca+logreg is too sure (error 0.17)" in told["SCR031"].evidence


def unseen(folder, rejected, auroc):
    """A case with an unseen-types split on which these two scores were planted."""
    case = case_of(folder, {"hvg_pca+logreg": 0.8}, tasks=("annotation", "annotation_unseen_types"))
    split = case.found.splits["annotation_unseen_types"]
    planted = {"unseen_rejected": rejected, "novelty_auroc": auroc}
    split.__dict__["values"] = split.values.assign(**planted)
    types = {"types": {"NK": {"cells": 50, "rejected": int(50 * rejected), "taken_for": {"T": 20}}}}
    score = Score("unseen_rejected", Status.OK, rejected, details=types)
    told = {"annotation_unseen_types": {"hvg_pca+logreg": {"unseen_rejected": [score]}}}
    return list(unseen_accepted(replace(case, told=told)))


def test_unseen_types_that_go_unnoticed_are_told(tmp_path):
    accepted, blind = unseen(tmp_path, 0.1, 0.4)
    assert "rejects only 10%" in accepted.evidence and "NK: 5 of 50 noticed, others told T (20)" in accepted.evidence
    assert "hvg_pca+logreg 0.40" in blind.evidence


def test_unseen_types_that_are_noticed_need_no_word(tmp_path):
    assert unseen(tmp_path, 0.8, 0.9) == []


def test_findings_reach_the_report_and_stand_beside_the_verdict(tmp_path):
    made = MadeAnnotation(CHEAP, record={"technical_twins": {"cell_type": ["channel"]}})
    gathered = gather([write_annotation(tmp_path / "r", made)])
    assert "SCR027" in {finding.code for finding in gathered.problems(gathered.comparisons[0])}
