"""From options to a study: held-out cells, roles, heads of models, groups of tasks."""

import pytest

from scrutiny.cli.declaring import READ_BY, Cells, Question, methods_of, study_of
from scrutiny.core.errors import InputError
from scrutiny.core.registry import HEADS
from scrutiny.data.checkpoints import whole_path

HEADED = [head for head in READ_BY if head in HEADS]


def names(question, *tasks):
    return [chosen.name for chosen in methods_of(question, tasks) if not chosen.name.startswith("control/")]


def test_held_out_cells_ask_for_labels():
    study = study_of(Cells("cells.h5ad", hold_out=["condition=stim", "condition=other", "donor=d1"]), Question(), None)
    assert study.datasets[0].hold_out == {"condition": ("stim", "other"), "donor": ("d1",)}
    assert study.tasks == ("annotation",) and {"majority", "hvg_pca+logreg"} <= {chosen.name for chosen in study.methods}
    assert study_of(Cells("cells.h5ad", hold_out=["a=b"]), Question(task=["label_transfer"]), None).tasks == ("label_transfer",)


def test_tasks_may_be_joined_by_commas():
    study = study_of(Cells("cells.h5ad"), Question(task=["annotation, annotation_few", "cell_types"]), None)
    assert study.tasks[::5] == ("annotation", "cell_types") and len(study.tasks) == 6


def test_roles_are_named():
    source = Cells("cells.h5ad", batch="lane", role=["study=dataset", "tissue=organ"]).source()
    assert source.roles == {"batch": "lane", "study": "dataset", "tissue": "organ"}


@pytest.mark.parametrize(
    "cells", [Cells("a.h5ad", hold_out=["condition"]), Cells("a.h5ad", role=["study"]), Cells("a.h5ad", batch="b", role=["batch=c"])]
)
def test_pairs_that_are_none_are_refused(cells):
    with pytest.raises(InputError, match=r"expected NAME=VALUE|given twice"):
        cells.source()


def test_what_a_study_file_says_itself_is_refused(tmp_path):
    with pytest.raises(InputError, match="a study file says them of each data set"):
        study_of(Cells(str(tmp_path / "study.toml"), hold_out=["a=b"]), Question(), None)


def test_the_learning_curve_is_four_tasks_and_is_drawn_as_often_as_asked():
    study = study_of(Cells("cells.h5ad"), Question(task=["annotation_few"], seeds=3), None)
    assert study.seeds == (0, 1, 2)
    with pytest.raises(InputError, match="--seeds is 0"):
        study_of(Cells("cells.h5ad"), Question(seeds=0), None)
    assert study.tasks == tuple(f"annotation_few_{k}" for k in (1, 5, 10, 50))


def test_a_model_is_read_by_heads_and_adapted_where_labels_are_told():
    whole = {"checkpoint": whole_path("weights")}
    asked = Question(model=["scgpt=weights"], methods="majority", adapt="lora,full")
    told = methods_of(asked, ("annotation",))
    by_name = {chosen.name: chosen for chosen in told}
    ways = [f"scgpt+{how}" for how in (*HEADED, "lora", "full")]
    assert [name for name in by_name if name.startswith("scgpt")] == ways
    assert all(by_name[way].options == whole for way in ways)
    assert {f"control/untrained_{way}" for way in ways} <= by_name.keys(), "each has its untrained twin"
    assert names(Question(model=["scgpt"], methods="pca"), "cell_types") == ["scgpt", "pca"]
    both = names(Question(model=["scgpt"], methods="pca"), "cell_types", "annotation")
    assert both == ["scgpt", *(f"scgpt+{head}" for head in HEADED), "pca"]


def test_adapting_needs_labels_to_tell_and_a_way_that_is_known():
    with pytest.raises(InputError, match="name one, e.g. --task annotation"):
        methods_of(Question(model=["scgpt"], adapt="lora"), ())
    with pytest.raises(InputError, match="lora"):
        methods_of(Question(model=["scgpt"], adapt="lorra"), ("annotation",))
