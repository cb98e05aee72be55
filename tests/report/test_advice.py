"""What to use for a number of labelled cells, a time and a machine, on stores in which the best method changes with each."""

import pytest
from made_annotation import MadeAnnotation, write_annotation
from made_stores import MadeStore, write

from scrutiny.core.scores import Cost
from scrutiny.report.advice import Wishes, advise, quoted
from scrutiny.report.gather import gather
from scrutiny.report.notebook import Report

TASKS = ("annotation", "annotation_few_1", "annotation_few_10")
RIGHT = {
    "hvg_pca+logreg": {"annotation": 0.9, "annotation_few_1": 0.3, "annotation_few_10": 0.6},
    "net+knn": {"annotation": 0.6, "annotation_few_1": 0.6, "annotation_few_10": 0.62},
    "net+lora": {"annotation": 0.95, "annotation_few_1": 0.25, "annotation_few_10": 0.9},
}
COSTS = {"net+lora": Cost(600.0, 2.0, 0.1, 2000.0, gpu="H200", trainable=100, n_answered=400)}


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    """Four types: 4, 40 and 400 labelled cells; zero-shot is best with few, LoRA on a GPU with many."""
    made = MadeAnnotation(RIGHT, ("net+knn", "net+lora"), tasks=TASKS, costs=COSTS)
    return gather([write_annotation(tmp_path_factory.mktemp("advice") / "r", made)])


def only(gathered, **wishes):
    (found,) = advise(gathered, Wishes(**wishes))
    return found


@pytest.mark.parametrize(
    ("labelled", "method", "learnt"), [(None, "net+lora", 400), (300, "net+lora", 400), (30, "net+lora", 40), (5, "net+knn", 4)]
)
def test_the_number_of_labelled_cells_decides(gathered, labelled, method, learnt):
    found = only(gathered, labelled=labelled)
    assert (found.recommendation.method, found.measured_with) == (method, f"{learnt} labelled cells")


def test_the_rows_are_quoted_with_value_interval_and_time(gathered):
    first = quoted(only(gathered))[0]
    assert first.startswith("net+lora 0.950 (0.9") and first.endswith(", 10 min")


def test_a_number_that_was_not_measured_is_never_extrapolated(gathered):
    more, fewer = only(gathered, labelled=100_000), only(gathered, labelled=1)
    assert more.thin[0] == "100,000 labelled cells are more than were measured (4, 40 and 400): this holds at 400 and is no forecast"
    assert "fewer than were measured" in fewer.thin[0] and fewer.measured_with == "4 labelled cells"


def test_between_two_numbers_both_are_told(gathered):
    found = only(gathered, labelled=11)
    assert found.measured_with == "4 labelled cells" and found.recommendation.method == "net+knn"
    assert "lie between those that were measured" in found.thin[0] and "at 40 the advice is net+lora" in found.thin[0]


def test_what_takes_too_long_is_left_out_by_name(gathered):
    found = only(gathered, seconds=60.0)
    assert found.recommendation.method == "hvg_pca+logreg"
    assert found.left_out == ("net+lora: it took 10 min, and 60 s are allowed",)


def test_without_a_gpu_what_ran_on_one_is_left_out(gathered):
    assert only(gathered, gpu=False).recommendation.method == "hvg_pca+logreg"
    assert only(gathered, gpu=False).left_out == ("net+lora: it ran on a GPU (H200)",)
    assert only(gathered, gpu=True).left_out == ()


def test_times_without_a_gpu_say_nothing_of_one(tmp_path):
    store = write_annotation(tmp_path / "r", MadeAnnotation({"hvg_pca+logreg": 0.9, "majority": 0.3}))
    found = only(gather([store]), gpu=True)
    assert any("without a GPU" in why for why in found.thin) and any("--device cuda" in step for step in found.next_steps)


def test_thin_evidence_is_told_with_what_would_help(tmp_path):
    made = MadeAnnotation(
        {"hvg_pca+logreg": 0.9, "net+knn": 0.89}, ("net+knn",), n_cells=120, costs=dict.fromkeys(["net+knn"], Cost(n_answered=120))
    )
    found = only(gather([write_annotation(tmp_path / "r", made)]))
    said, steps = " | ".join(found.thin), " | ".join(found.next_steps)
    assert "only 120 cells were scored" in said and "cannot be told from" in said
    assert "--task annotation_few" in steps and "--model net --adapt lora,full" in steps and "--cells all" in steps
    assert "scrutiny run FILE --label cell_type" in found.next_steps[0]


def test_unseen_types_do_not_stand_for_the_other_splits(tmp_path):
    tasks = ("annotation_few_1", "annotation_few_5", "annotation_unseen_types", "reference_mapping")
    store = write_annotation(tmp_path / "r", MadeAnnotation({"hvg_pca+logreg": 0.9, "majority": 0.3}, tasks=tasks))
    about = sorted(found.about.split(" · ")[1] for found in advise(gather([store])))
    assert about == ["annotation unseen types", "reference mapping"]


def test_of_few_labels_alone_the_most_are_advised_on(tmp_path):
    tasks = ("annotation_few_1", "annotation_few_5")
    store = write_annotation(tmp_path / "r", MadeAnnotation({"hvg_pca+logreg": 0.9, "majority": 0.3}, tasks=tasks))
    assert [found.about.split(" · ")[1] for found in advise(gather([store]))] == ["annotation few 5"]


def test_what_to_run_next_keeps_the_batches_and_the_cells_held_out(tmp_path):
    """Without them another split would be scored, which says nothing of this one."""
    record = {"roles": {"label": "cell_type", "batch": "donor"}, "facts": {"hold_out": '{"condition": ["beta interferon"]}'}}
    made = MadeAnnotation({"hvg_pca+logreg": 0.9, "majority": 0.3}, record=record)
    found = only(gather([write_annotation(tmp_path / "r", made)]))
    same = "scrutiny run FILE --label cell_type --batch donor --hold-out 'condition=beta interferon' --task annotation_few -o RESULTS"
    assert same in found.next_steps


def test_problems_of_the_data_and_of_the_advised_method_are_told(tmp_path):
    made = MadeAnnotation({"hvg_pca+logreg": 0.9, "majority": 0.3}, record={"technical_twins": {"cell_type": ["channel"]}})
    found = only(gather([write_annotation(tmp_path / "r", made)]))
    assert any(why.startswith("SCR027") for why in found.thin) and any(why.startswith("SCR005") for why in found.thin)


def test_a_random_split_is_told(tmp_path):
    made = MadeAnnotation({"hvg_pca+logreg": 0.9, "majority": 0.3}, tasks=("annotation_random",))
    assert any("drawn at random" in why for why in only(gather([write_annotation(tmp_path / "r", made)])).thin)


def test_other_tasks_have_advice_of_their_own(tmp_path):
    gathered = gather([write(tmp_path / "r", MadeStore())])
    assert [a.recommendation.key.task for a in advise(gathered)] == ["cell_types", "integration"]
    assert [a.about for a in advise(gathered, Wishes(task="integration"))] == ["made · integration · labels cell_type"]
    assert advise(gathered, Wishes(task="annotation")) == []
    assert [a.recommendation for a in gathered.advice] == gathered.recommendations


def test_advice_and_claims_are_tables_in_a_notebook(tmp_path):
    report = Report(write_annotation(tmp_path / "r", MadeAnnotation({"hvg_pca+logreg": 0.9, "majority": 0.3})))
    advice = report.advise("annotation", labelled=400)
    assert advice["use"].tolist() == ["hvg_pca+logreg"] and advice["rests_on"][0][0].startswith("hvg_pca+logreg 0.900")
    assert set(report.claims["answer"]) == {"not testable"} and "R4" in set(report.claims["id"])
