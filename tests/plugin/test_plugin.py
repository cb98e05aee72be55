"""A package of somebody else, really installed: found through its entry points, checked by the contracts, run in a study."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "package"
SOURCE = PACKAGE / "src" / "scrutiny_acme"
PAGE = Path(__file__).parents[2] / "docs" / "ADDING.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run Python with the package installed beside scrutiny; nothing is fetched and the environment of the tests stays as it is."""
    for module in ("pip", "setuptools"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PACKAGE, folder / "package")
    how = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
    install = [sys.executable, "-m", "pip", "install", *how, "--target", str(folder / "site"), str(folder / "package")]
    subprocess.run(install, check=True, capture_output=True, text=True)

    def python(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(folder / "site")}
        return subprocess.run([sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True)

    return python


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_entry_points_are_found_by_name_and_loaded_on_first_use(run):
    code = """
import json, sys
from scrutiny.core.registry import METHODS, METRICS, TASKS
names = [n for r in (METHODS, METRICS, TASKS) for n in r.names() if n.startswith("acme/")]
early = "scrutiny_acme" in sys.modules
loaded = [r.get(n).card.name for r in (METHODS, METRICS, TASKS) for n in r.names() if n.startswith("acme/")]
print(json.dumps([names, early, loaded]))
"""
    names, early, loaded = answer(run("-c", code))
    assert names == ["acme/half_way", "acme/hashnet", "acme/top_genes", "acme/centroid_accuracy", "acme/unseen_batches"]
    assert not early
    assert loaded == names


def test_the_contracts_pass_in_the_package_of_the_author(run):
    done = run("-m", "pytest", str(PACKAGE / "tests"), "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_a_study_runs_them_beside_the_built_in_ones(run):
    code = """
import json
from dataclasses import replace
from scrutiny import Study
from scrutiny.data.synth import planted
cells = planted(120, 60)
data = (replace(cells, name="human", organism="human"), replace(cells, name="newt", organism="newt"))
methods = ("acme/hashnet", "acme/half_way", "acme/top_genes", "acme/top_genes+acme/angle")
methods += ("hvg_pca", "harmony", "control/shuffle", "control/label_oracle")
table = Study(data, methods=methods, tasks=("acme/unseen_batches", "label_transfer", "reconstruction", "annotation")).run("store").scores()
print(table[["dataset", "method", "task", "metric", "primary", "status", "value", "reason"]].to_json(orient="records"))
"""
    rows = answer(run("-c", code))

    def value(method, metric, task="acme/unseen_batches"):
        found = [r for r in rows if (r["dataset"], r["method"], r["metric"], r["task"]) == ("human", method, metric, task)]
        assert [r["status"] for r in found] == ["ok"], found
        return found[0]["value"]

    for metric in ("knn_purity", "acme/centroid_accuracy"):
        assert value("control/label_oracle", metric) > 0.95
        assert value("control/label_oracle", metric) >= value("acme/top_genes", metric) > value("control/shuffle", metric)
    assert value("acme/hashnet", "probe_logreg_macro_f1", "label_transfer") > 0.5
    assert value("acme/half_way", "reconstruction_skill", "reconstruction") > -0.1
    assert value("acme/top_genes+acme/angle", "macro_f1", "annotation") > 0.8
    newts = {r["reason"] for r in rows if (r["dataset"], r["method"], r["task"]) == ("newt", "acme/hashnet", "label_transfer")}
    assert newts == {"acme/hashnet knows ['human', 'mouse']; 'newt' is of organism 'newt'"}
    unseen = {r["reason"] for r in rows if (r["method"], r["task"]) == ("harmony", "acme/unseen_batches")}
    assert unseen == {"harmony embeds all cells at once; in acme/unseen_batches the query must stay unseen"}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_page_on_adding_shows_the_code_that_these_tests_run():
    shown = blocks("python")
    for name in ("model", "predictor", "baseline", "head", "metric", "task"):
        code = (SOURCE / f"{name}.py").read_text()
        assert code in shown, f"{name}.py and docs/ADDING.md differ"
        assert len(code.splitlines()) < 40, name
    assert (PACKAGE / "tests" / "test_contracts.py").read_text() in shown
    assert (PACKAGE / "pyproject.toml").read_text() in blocks("toml")
    assert len(shown) == 8


def test_the_page_on_adding_shows_a_notebook_that_runs(run):
    """The one block that is no file of the package."""
    written = {path.read_text() for path in SOURCE.glob("*.py")} | {(PACKAGE / "tests" / "test_contracts.py").read_text()}
    (notebook,) = [block for block in blocks("python") if block not in written]
    done = run("-c", notebook)
    assert done.returncode == 0, done.stderr
