"""One table for a net as it is, probes and adaptations; learning curves; both on stores with a planted truth."""

import re

import pytest
from made_annotation import PROBE, ZERO, MadeAnnotation, write_annotation

from scrutiny.core.scores import Cost
from scrutiny.report.adaptations import adaptation_table
from scrutiny.report.approaches import approach
from scrutiny.report.gather import gather
from scrutiny.report.learning_curves import curves, drawn
from scrutiny.report.page import write_report
from scrutiny.report.svg import node, spread

FEW = ("annotation_few_1", "annotation_few_10")
RIGHT = {
    "hvg_pca+logreg": {"annotation": 0.8, FEW[0]: 0.3, FEW[1]: 0.6},
    "majority": 0.26,
    "net+knn": {"annotation": 0.6, FEW[0]: 0.5, FEW[1]: 0.55},
    "net+logreg": {"annotation": 0.75, FEW[1]: 0.7},
    "net+lora": {"annotation": 0.95, FEW[0]: 0.28, FEW[1]: 0.8},
    "control/untrained_net+lora": 0.5,
}
MODELS = ("net", "net+knn", "net+logreg", "net+lora", "net+full")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    made = MadeAnnotation(
        RIGHT | {"net": {}, "net+full": {}},
        models=MODELS,
        tasks=("annotation", *FEW),
        facts={"net+knn": ZERO, "net+logreg": PROBE},
        costs={"net+lora": Cost(90.0, 2.0, 0.1, 2000.0, trainable=12345, n_answered=400)},
        failed={"net+full": "it needs more memory than there is", "net": "it has no predict_labels"},
    )
    return write_annotation(tmp_path_factory.mktemp("adaptations") / "r", made)


@pytest.fixture(scope="module")
def entry(found):
    return gather([found]).annotated[0]


def test_approaches_are_read_off_names_and_facts():
    assert approach("scgpt+knn", "model", {}) == ("scgpt", "zero-shot", "knn", False)
    assert approach("scrutiny/mini-rank+logreg", "model", PROBE) == ("scrutiny/mini-rank", "probe", "logreg", False)
    assert approach("scgpt+lora", "model", {"head": "lora", "adaptation": {"way": "lora"}}) == ("scgpt", "adapted", "lora", False)
    assert approach("control/untrained_scgpt+lora", "control", {}) == ("scgpt", "adapted", "lora", True)
    assert approach("small+knn (k=5)", "model", ZERO, "pretrained+knn") == ("small", "zero-shot", "knn", False)
    assert approach("untrained small+lora", "control", {}, "control/untrained_pretrained+lora") == ("small", "adapted", "lora", True)
    assert approach("hvg_pca+knn", "baseline", ZERO).net == "" and approach("majority", "baseline", {}).net == ""


def test_all_ways_of_a_net_stand_in_one_group(entry):
    groups = {group.title: group.rows for group in adaptation_table(entry).groups}
    assert list(groups) == ["net", "Cheap methods", "Controls"]
    assert [row.method for row in groups["net"]] == ["net+knn", "net+logreg", "net+lora", "control/untrained_net+lora", "net+full"]
    assert [row.words for row in groups["net"]] == ["zero-shot", "probe", "adapted", "untrained, adapted", "adapted"]


def test_rows_tell_cost_difference_and_reason(entry):
    rows = {row.method: row for group in adaptation_table(entry).groups for row in group.rows}
    lora = rows["net+lora"]
    assert lora.score.value == pytest.approx(0.95, abs=0.005) and lora.beats
    assert rows["control/untrained_net+lora"].name == "random weights+lora"
    assert lora.difference.estimate == pytest.approx(0.15, abs=0.03)
    assert lora.cost == {"trainable": 12345, "seconds_fit": 90, "cells_per_second": 200, "peak_memory_mb": 2000}
    assert rows["net+full"].reason == "it needs more memory than there is" and rows["net+full"].score.value is None
    assert rows["hvg_pca+logreg"].is_cheapest_best and not rows["net+knn"].beats


def test_curves_hold_all_points_of_each_method(entry):
    found = {curve.method: curve for curve in curves(entry)}
    assert [v.value for v in found["net+lora"].few.values()] == pytest.approx([0.28, 0.8], abs=0.01)
    assert list(found["net+logreg"].few) == [10] and found["net+logreg"].everything.value == pytest.approx(0.75, abs=0.01)
    assert "control/untrained_net+lora" not in found


def test_curves_are_drawn_with_names_and_whiskers(entry):
    picture = str(drawn(entry))
    assert picture.startswith("<svg") and 'role="img"' in picture and "annotation_few" not in picture
    for name in ("net+lora", "net+knn", "hvg_pca+logreg"):
        assert f">{name}</text>" in picture
    assert len(re.findall(r"<circle", picture)) == 14 and picture.count("whisker") == 14


def test_a_split_without_a_score_says_why(tmp_path):
    right = {"hvg_pca+logreg": 0.8, "net+lora": {"annotation": 0.9}}
    made = MadeAnnotation(right, ("net+lora",), tasks=("annotation", "annotation_random"))
    rows = [row for group in adaptation_table(gather([write_annotation(tmp_path / "r", made)]).annotated[0]).groups for row in group.rows]
    (lora,) = [row for row in rows if row.method == "net+lora"]
    assert (lora.others["annotation_random"].value, lora.others["annotation_random"].reason) == (None, "not asked")


def test_of_many_methods_each_net_and_way_and_the_best_cheap_one_are_drawn(tmp_path):
    right = {f"{net}+{head}": 0.9 for net in ("a", "b", "c") for head in ("knn", "centroid", "logreg", "lora")} | {"hvg_pca+logreg": 0.3}
    made = MadeAnnotation(
        right, tuple(right)[:-1], tasks=("annotation", FEW[0]), n_cells=80, facts=dict.fromkeys([f"{n}+logreg" for n in "abc"], PROBE)
    )
    picture = str(drawn(gather([write_annotation(tmp_path / "r", made)]).annotated[0]))
    names = set(re.findall(r'class="name[^>]*>([^<]+)</text>', picture))
    assert "10 of 13 methods" in picture and len(names) == 10 and "hvg_pca+logreg" in names
    assert all({f"{net}+logreg", f"{net}+lora"} <= names and names & {f"{net}+knn", f"{net}+centroid"} for net in "abc")


def test_several_draws_of_the_labelled_cells_are_shown_one_by_one(tmp_path):
    made = MadeAnnotation({"hvg_pca+logreg": 0.5, "majority": 0.25}, tasks=("annotation", FEW[0]), draws=(-0.1, 0.0, 0.1))
    entry = gather([write_annotation(tmp_path / "r", made)]).annotated[0]
    (curve,) = [one for one in curves(entry) if one.method == "hvg_pca+logreg"]
    assert curve.draws[1] == pytest.approx((0.4, 0.5, 0.6)) and curve.few[1].value == pytest.approx(0.5)
    assert str(drawn(entry)).count('class="draw ') == 6


def test_the_score_with_few_labels_is_not_drawn_as_that_with_all(tmp_path):
    tasks = ("annotation_few_1", "annotation_few_5", "annotation_unseen_types")
    made = MadeAnnotation({"hvg_pca+logreg": 0.9, "majority": 0.3}, tasks=tasks)
    (entry,) = gather([write_annotation(tmp_path / "r", made)]).annotated
    assert {curve.everything.value for curve in curves(entry)} == {None}


def test_without_few_shot_splits_there_are_no_curves(tmp_path):
    store = write_annotation(tmp_path / "r", MadeAnnotation({"hvg_pca+logreg": 0.8, "majority": 0.25}))
    assert drawn(gather([store]).annotated[0]) is None


def test_the_page_shows_the_section_and_no_cell(found, tmp_path):
    text = write_report([found], tmp_path / "report.html").read_text("utf-8")
    assert 'id="annotation"' in text and "it needs more memory than there is" in text and "12,345" in text
    assert "cell_00001" not in text and "the best adaptation is net+lora" in text


def test_text_of_drawings_is_escaped():
    assert node("text", "<b>&", aria_label='"x"') == '<text aria-label="&#34;x&#34;">&lt;b&gt;&amp;</text>'


def test_labels_keep_their_order_and_a_gap():
    assert spread([10, 11, 40], 0, 100, gap=5) == [10, 15, 40]
    assert spread([98, 99, 100], 0, 100, gap=5) == [90, 95, 100]
