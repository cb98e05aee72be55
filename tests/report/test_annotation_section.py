"""What is drawn of told labels: order by the tree, confusion, labels one by one, doubt, two methods compared, unseen types."""

import re

import numpy as np
import pandas as pd
import pytest
from made_annotation import TYPES, MadeAnnotation, write_annotation

from scrutiny.core.labels import LabelPrediction
from scrutiny.report import confusion, kinship
from scrutiny.report.annotation_section import parts
from scrutiny.report.answers import Answers
from scrutiny.report.contrast import contrast
from scrutiny.report.details import labelled_cells
from scrutiny.report.gather import gather
from scrutiny.report.label_order import outline
from scrutiny.report.label_table import label_rows
from scrutiny.report.page import write_report
from scrutiny.report.reliability import is_too_sure, risk_coverage
from scrutiny.report.unseen_types import taken_for

TREE = (
    {"id": "1", "name": "cell", "parents": [], "labels": []},
    {"id": "2", "name": "lymphocyte", "parents": ["1"], "labels": []},
    {"id": "3", "name": "T cell", "parents": ["2"], "labels": []},
    {"id": "4", "name": "CD4", "parents": ["3"], "labels": ["CD4 T cell"]},
    {"id": "5", "name": "CD8", "parents": ["3"], "labels": ["CD8 T cell"]},
    {"id": "6", "name": "B cell", "parents": ["2"], "labels": ["B cell"]},
    {"id": "7", "name": "monocyte", "parents": ["1"], "labels": ["Monocyte"]},
)
METRICS = ("macro_f1", "accuracy", "ece", "aurc")


def test_labels_stand_down_the_tree():
    found = outline(TYPES, TREE, np.eye(4, dtype=int))
    assert found.by_ontology and found.labels == ["CD4 T cell", "CD8 T cell", "B cell", "Monocyte"]
    assert [(line.words, line.depth) for line in found.lines] == [
        ("lymphocyte", 0),
        ("T cell", 1),
        ("CD4 T cell", 2),
        ("CD8 T cell", 2),
        ("B cell", 1),
        ("Monocyte", 0),
    ]


def test_a_label_of_an_inner_term_stands_above_what_is_below_it():
    tree = [*TREE[:2], TREE[2] | {"labels": ["T cell"]}, *TREE[3:]]
    found = outline(("T cell", "CD4 T cell", "Monocyte"), tree, np.eye(3, dtype=int))
    assert found.labels == ["T cell", "CD4 T cell", "Monocyte"]


def test_labels_without_a_term_come_last():
    found = outline(("B cell", "Monocyte", "my own"), TREE, np.eye(3, dtype=int))
    assert found.labels[-1] == "my own" and "no term of the ontology" in [line.words for line in found.lines]


def test_without_an_ontology_what_is_mistaken_stands_side_by_side():
    counts = np.array([[5, 0, 5, 0], [0, 5, 0, 5], [5, 0, 5, 0], [0, 5, 0, 5]])
    found = outline(("a", "b", "c", "d"), (), counts)
    assert not found.by_ontology and {frozenset(found.labels[:2]), frozenset(found.labels[2:])} == {frozenset("ac"), frozenset("bd")}


def test_the_confusion_says_each_square():
    told = {"true": ["a", "b"], "told": ["a", "c"], "counts": [[3, 1], [0, 4]]}
    labels, counts = confusion.matrix(told)
    assert labels == ["a", "b", "c"] and counts.tolist() == [[3, 0, 1], [0, 0, 4], [0, 0, 0]]
    picture = str(confusion.drawn("m", told, confusion.common_order([told], ())))
    assert "3 of 4 cells of a are told a" in picture and "4 of 4 cells of b are told c" in picture and ">75</text>" in picture


def test_rows_of_labels_mark_the_rare_and_the_surely_best():
    good = {"cells": 100, "recall": 0.9, "f1": 0.9, "f1_low": 0.85, "f1_high": 0.95, "precision": 0.9, "trained_on": 995}
    bad = good | {"f1": 0.5, "f1_low": 0.4, "f1_high": 0.6}
    rare = good | {"cells": 2, "trained_on": 5}
    found = label_rows({"m": {"labels": {"a": good, "b": rare}}, "n": {"labels": {"a": bad, "b": rare}}}, ["b", "a"])
    assert [(row.label, row.is_rare, row.best, row.learnt_from) for row in found] == [("b", True, None, 5), ("a", False, "m", 995)]


def test_a_type_is_rare_among_all_labelled_cells_not_those_of_scored_types():
    told = {"cells": 100, "recall": 0.9, "f1": 0.9, "f1_low": 0.85, "f1_high": 0.95, "precision": 0.9, "trained_on": 5}
    assert [row.is_rare for row in label_rows({"m": {"labels": {"a": told}, "labelled_cells": 1000}}, ["a"])] == [True]


def test_labelled_cells_of_types_that_are_not_scored_count_too(tmp_path):
    gathered = gather([write_annotation(tmp_path, MadeAnnotation({"hvg_pca+knn": 0.8}, elsewhere={"Platelet": 60}))])
    (comparison,) = gathered.comparisons
    assert labelled_cells(comparison, gathered.runs) == 4 * 100 + 60


def test_two_methods_that_are_right_on_other_cells():
    """20 cells: 12 only the first, 2 only the second; McNemar by hand: 2 (C(14,0) + C(14,1) + C(14,2)) / 2^14 = 0.01294."""
    truth, names = np.repeat(["a", "b"], 10), np.array(["a", "b"])
    one, other = np.zeros(20, bool), np.zeros(20, bool)
    one[:12], other[12:14] = True, True

    def told(right):
        is_a = (truth == "a") == right
        return LabelPrediction(np.arange(20).astype(str), names, np.stack([is_a, ~is_a], axis=1).astype(np.float32))

    found = contrast(Answers(truth, {"m": told(one), "n": told(other)}), "m", "n")
    assert found.whole.alone[:2] == (12, 2) and found.whole.alone.p == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    assert (found.whole.both, found.whole.neither) == (0, 6)
    a = found.rows[0]
    assert a.label == "a" and a.alone.first == 10 and a.alone.p == pytest.approx(2 * 2 * 2**-10)  # two labels: Holm doubles
    assert "m is surely better on a." in found.words
    assert "the same of 30% of the cells (Cohen's kappa -0.21)" in found.words, "0.3 of 0.42 by chance: m tells a of 18 cells, n of 8"


def test_too_sure_or_not():
    assert is_too_sure([{"cells": 9, "confidence": 0.9, "accuracy": 0.5}, {"cells": 1, "confidence": 0.5, "accuracy": 0.9}])
    assert not is_too_sure([{"cells": 1, "confidence": 0.9, "accuracy": 0.5}, {"cells": 9, "confidence": 0.5, "accuracy": 0.9}])
    assert str(risk_coverage({"m": {"0.5": 0.0, "1.0": 0.2}, "n": {"0.5": 0.1, "1.0": 0.1}})).count("<polyline") == 2


def test_what_unseen_types_are_taken_for():
    told = {"NK": {"cells": 40, "rejected": 3, "taken_for": {"CD8 T": 35, "B": 2}}}
    assert taken_for(told) == "NK: 3 of 40 noticed, others told CD8 T (35) and B (2)"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    record = {"ontology": {"version": "2099-01-01", "tree": list(TREE)}}
    made = MadeAnnotation({"hvg_pca+logreg": 0.9, "net+lora": 0.6}, ("net+lora",), metrics=METRICS, record=record, confidence=0.97)
    return write_annotation(tmp_path_factory.mktemp("section") / "r", made)


def test_a_part_holds_all_pictures_of_a_store(store):
    (part,) = parts(gather([store]))
    assert part.labels.by_ontology and [method for method, _ in part.labels.confusions] == ["hvg_pca+logreg", "net+lora"]
    assert [row.label for row in part.labels.rows] == ["CD4 T cell", "CD8 T cell", "B cell", "Monocyte"]
    assert part.labels.rows[0].scores["net+lora"].recall == pytest.approx(0.6)
    assert part.contrast.whole.n_cells == 400 and part.contrast.whole.alone.second > part.contrast.whole.alone.first
    words = {method: said for method, said, _ in part.doubt.panels}
    assert words["net+lora"].startswith("surer than right, error 0.37")


def test_how_far_mistakes_go(store):
    """Planted: net+lora is 2.0 steps off, labels dealt at random 4.0."""
    found = gather([store]).annotated[0]
    planted = {"net+lora": 2.0, "control/shuffled_labels": 4.0}
    found.chief.__dict__["values"] = found.chief.values.assign(lcad=pd.Series(planted))
    rows = kinship.rows(found)
    assert [row.method for row in rows] == ["net+lora", "control/shuffled_labels"]
    assert kinship.words(rows) == "Steps in the tree that a mistake is off: net+lora 2.0; of labels dealt at random 4.0."


def test_without_terms_mistakes_are_not_weighed(store):
    assert parts(gather([store]))[0].kinship == ()


def test_the_page_shows_them_without_cells(store, tmp_path):
    text = write_report([store], tmp_path / "report.html").read_text("utf-8")
    for word in ("Which types are told", "2099-01-01", "do they make different mistakes", "Are sure cells right?"):
        assert word in text, word
    assert "cell_00001" not in text and len(re.findall('class="drawing ', text)) == 5


def test_without_the_cache_only_the_comparison_of_two_methods_goes(store, tmp_path):
    made = MadeAnnotation({"hvg_pca+logreg": 0.9, "net+lora": 0.6}, ("net+lora",), metrics=METRICS, with_outputs=False)
    (part,) = parts(gather([write_annotation(tmp_path / "r", made)]))
    assert part.contrast is None and part.labels is not None and not part.labels.by_ontology and part.doubt is not None


def test_hostile_labels_stay_text(tmp_path):
    hostile = "<script>window.stolen = 1</script>"
    made = MadeAnnotation({"hvg_pca+logreg": 0.9, "majority": 0.3}, types=("T", "B", hostile), n_cells=120, metrics=METRICS)
    text = write_report([write_annotation(tmp_path / "r", made)], tmp_path / "report.html").read_text("utf-8")
    assert hostile not in text and "&lt;script&gt;window.stolen" in text
