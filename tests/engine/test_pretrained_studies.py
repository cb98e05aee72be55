"""Studies that train nets: their file, their plan, their run and what the report says of them."""

import re
from io import StringIO

import pytest
from rich.console import Console

import in_process
from scrutiny.cli.plans import show_plan
from scrutiny.core.errors import InputError
from scrutiny.core.scores import Status
from scrutiny.data.synth import planted
from scrutiny.engine.study import Study
from scrutiny.engine.studyfile import read_study_file
from scrutiny.report.gather import gather
from scrutiny.report.page import LEVELS, render
from scrutiny.report.reproduce import study_toml

TINY = """
name = "tiny"
notes = "Nothing can be concluded from it."
seeds = [0, 1]
tasks = ["cell_types"]
methods = ["hvg_pca", "control/shuffle", "control/label_oracle"]

[pretraining]
corpus = { files = ["corpus.h5ad"], min_genes = 10, min_counts = 10, min_cells = 1, validation = 0.1 }
model = { family = "scgpt", width = 16, layers = 1, heads = 2, feed_forward = 32, context = 32 }
training = { teraflops = 1e-4, tokens_per_batch = 512, validate = 1 }
runs = "runs"
device = "cpu"

[[nets]]
name = "bins"
objective = { name = "masked_bins" }

[[nets]]
name = "joint"
objective = { name = "joint_embedding", share = 0.4 }

[[nets]]
name = "rank"
model = { family = "geneformer" }
objective = { name = "masked_rank" }
use = { layer = 0 }

[[datasets]]
path = "cells.h5ad"
label = "cell_type"
organism = "human"
without = { batch = ["batch_2"] }
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with ``study.toml``, the corpus that it names, and 180 other cells in three batches."""
    from anndata import AnnData

    folder = tmp_path_factory.mktemp("home")
    names = [f"ENSG{i:011d}" for i in range(150)]
    for file, n_cells, seed in (("corpus", 120, 3), ("cells", 180, 4)):
        data = planted(n_cells, 150, seed=seed)
        table = AnnData(data.values, obs=data.obs.assign(batch=[f"batch_{i % 3}" for i in range(n_cells)]))
        table.var_names = names
        table.var["ensembl_id"], table.var["symbol"] = names, [f"GENE{i}" for i in range(150)]
        table.write_h5ad(folder / f"{file}.h5ad")
    (folder / "study.toml").write_text(TINY)
    return folder


def study(home, **changes):
    text = TINY
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path = home / "changed.toml"
    path.write_text(text)
    return Study.from_toml(path)


# The file --------------------------------------------------------------------------------------------------------------------------


def test_each_net_is_a_method_with_the_common_tables_under_its_own_and_nets_of_one_shape_share_a_twin(home):
    bins, twin, joint, rank, ranks_twin, *others = study(home).methods
    assert [chosen.name for chosen in (bins, joint, rank)] == ["pretrained"] * 3
    assert [chosen.options["name"] for chosen in (twin, ranks_twin)] == ["untrained bins", "untrained rank"]
    assert twin.name == "control/untrained_pretrained" and set(twin.options["config"]) == {"corpus", "model"}
    model = rank.options["config"]["model"]
    assert (model["family"], model["width"], bins.options["config"]["model"]["family"]) == ("geneformer", 16, "scgpt")
    assert rank.options["use"] == {"layer": 0} and "use" not in bins.options and "use" not in rank.options["config"]
    assert bins.options["folder"] == str(home) and bins.options["runs"] == str(home / "runs")
    assert [chosen.name for chosen in others] == ["hvg_pca", "control/shuffle", "control/label_oracle"]


def test_a_net_with_each_of_its_heads_is_a_method_and_so_is_its_twin(home):
    changed = study(home, heads=('name = "joint"', 'name = "joint"\nheads = ["knn", "logreg"]'))
    found = [(chosen.name, chosen.options["name"]) for chosen in changed.methods if "name" in chosen.options]
    names = [name for name, called in found if called == "joint"]
    assert names == ["pretrained", "pretrained+knn", "pretrained+logreg"]
    assert [name for name, _ in found].count("control/untrained_pretrained+knn") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('name = "joint"', 'name = "bins"'), "two nets are called 'bins'"),
        (('name = "joint"\n', ""), "the key 'nets[2].name' is missing"),
        (('use = { layer = 0 }', "use = 0"), "'nets[3].use' is 0; expected a table"),
        (('use = { layer = 0 }', "usage = { layer = 0 }"), "the key 'nets[3].usage' is not known"),
        (('runs = "runs"', "runs = 3"), "'pretraining.runs' is 3; expected text"),
        (('["batch_2"]', "3"), "'datasets[1].without.batch' is 3; expected a list"),
        (('"Nothing can be concluded from it."', "3"), "'notes' is 3; expected text"),
    ],
)
def test_errors_name_the_key(home, change, said):
    with pytest.raises(InputError, match=re.escape(said)):
        study(home, only=change)


def test_common_tables_without_a_net_are_an_error(home, tmp_path):
    (tmp_path / "study.toml").write_text("[pretraining]\nruns = 'runs'\n[[datasets]]\npath = 'a.h5ad'")
    with pytest.raises(InputError, match="no \\[\\[nets\\]\\] to train"):
        read_study_file(tmp_path / "study.toml")


def test_cells_are_left_out_by_a_column_and_the_notes_say_so(home):
    (scored,) = study(home).grid.datasets
    assert scored.data.n_cells == 120 and not (scored.data.obs["batch"] == "batch_2").any()
    assert "60 of 180 cells were left out: their 'batch' is batch_2." in scored.data.notes
    with pytest.raises(InputError, match="cells whose 'batch' is 'batch_7' are to be left out, but 'cells' has"):
        study(home, only=('["batch_2"]', '["batch_7"]')).grid  # noqa: B018
    with pytest.raises(InputError, match="no column 'donor' for the role 'without'"):
        study(home, only=("without = { batch", "without = { donor")).grid  # noqa: B018


# The plan --------------------------------------------------------------------------------------------------------------------------


def test_a_plan_lists_each_training_once_and_makes_nothing(home, tmp_path):
    changed = study(home, tasks=('["cell_types"]', '["cell_types", "label_transfer"]'), place=('runs = "runs"', 'runs = "elsewhere"'))
    plan = changed.plan(tmp_path / "results")
    trainings = [(training.called, training.seed) for training in plan.preparations()]
    assert trainings == [(name, seed) for name in ("bins", "joint", "rank") for seed in (0, 1)]
    assert all(training.seconds > 0 for training in plan.preparations())
    assert not (home / "elsewhere").exists() and not (tmp_path / "results").exists()
    console = Console(file=StringIO(), width=120)
    show_plan(plan, console)
    said = console.file.getvalue()
    assert re.search(r"untrained bins +to do", said) and re.search(r"rank +0, 1 +~\d+ s", said)
    assert re.search(r"6 trainings, roughly \d+ s; then \d+ jobs, about", said)


def test_the_heads_of_a_net_share_its_training(home, tmp_path):
    changed = study(home, heads=('name = "joint"', 'name = "joint"\nheads = ["knn", "logreg"]'), tasks=('["cell_types"]', '["annotation"]'))
    plan = changed.plan(tmp_path / "results")
    assert {run.spec.method for run in plan.runs if run.called.startswith("joint")} == {"pretrained+knn", "pretrained+logreg"}
    assert [(made.called, made.seed) for made in plan.preparations()] == [("joint", 0), ("joint", 1)]


def test_the_budget_counts_the_trainings(home, tmp_path):
    def states(budget):
        changed = study(home, budget=("seeds =", f'budget = "{budget}"\nseeds ='), compute=("teraflops = 1e-4", "teraflops = 1e4"))
        return {(run.spec.method, run.state.value) for run in changed.plan(tmp_path).runs}

    assert ("pretrained", "to do") in states("100000d")
    assert {("pretrained", "not applicable"), ("control/untrained_pretrained", "not applicable"), ("hvg_pca", "to do")} <= states("1h")


# The run ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(home, tmp_path_factory):
    """The store of the study, its trainings done beforehand."""
    declared, out, steps = study(home), tmp_path_factory.mktemp("results"), []
    for training in declared.plan(out).preparations():
        training.carry_out(steps.append)
    assert steps and declared.plan(out).preparations() == []
    with pytest.MonkeyPatch.context() as patched:
        return in_process.run(declared, out, patched)


def test_nets_run_with_every_seed_and_under_their_names(done):
    runs = done.runs()
    assert {run.status for run in runs} == {Status.OK}, [run.reason for run in runs if run.reason]
    table = done.scores().drop_duplicates("run_key")
    nets = table[table["method"] == "pretrained"]
    assert sorted(zip(nets["called"], nets["seed"])) == [(name, seed) for name in ("bins", "joint", "rank") for seed in (0, 1)]
    assert set(table["called"]) == {"", "bins", "joint", "rank", "untrained bins", "untrained rank"}


def test_another_study_with_the_same_net_trains_nothing(home, tmp_path):
    same = study(home, name=('name = "bins"', 'name = "other name"'), seeds=("seeds = [0, 1]", "seeds = [1]"))
    assert same.plan(tmp_path).preparations() == []


def test_the_report_begins_with_the_notes_and_says_what_was_trained_at_what_compute(done):
    found = gather([done])
    assert found.notes == ("Nothing can be concluded from it.",)
    page = render(found, {}, LEVELS[-1])
    assert page.index("Nothing can be concluded from it.") < page.index('id="recommendation"')
    told = {finding.code: finding for finding in found.findings}
    assert told["SCR024"].title == "Trained for this study, with equal numbers of operations: bins, joint and rank"
    assert "rank: geneformer (width 16, layers 1, heads 2, feed_forward 32, context 32) for masked_rank" in told["SCR024"].evidence
    assert "0.0001 teraflops on 120 cells of corpus" in told["SCR024"].evidence
    assert told["SCR003"].severity == "note" and "None of the 120 cells" in told["SCR003"].evidence
    assert "SCR018" not in told, "nobody takes these nets for published models"


def test_the_study_in_the_report_trains_the_same_nets(done, tmp_path):
    found = gather([done])
    (tmp_path / "again.toml").write_text(study_toml(found.runs, list(found.facts.values()), found.cards.methods))
    again = Study.from_toml(tmp_path / "again.toml")
    assert again.seeds == (0, 1)
    own = {chosen.options["name"]: chosen.options["config"] for chosen in again.methods if chosen.name == "pretrained"}
    assert set(own) == {"bins", "joint", "rank"}
    assert own["joint"]["objective"] == {"name": "joint_embedding", "share": 0.4} and own["rank"]["model"]["family"] == "geneformer"
