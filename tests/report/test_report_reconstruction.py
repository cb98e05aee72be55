"""Pictures of reconstruction, from made stores whose bins are known."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from made_stores import MadeStore, write
from rich.console import Console

from scrutiny.report.gather import gather
from scrutiny.report.page import write_report
from scrutiny.report.reconstruction import picture
from scrutiny.report.terminal import show

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
N = (60, 30, 10)
TRUE = (1.0, 2.0, 4.0)
GENE_MEAN = (1.2, 1.8, 2.2)


def told(predicted, *, quantity="log count", slope=1.0, **more) -> dict:
    """Details of a primary score: three bins, each prediction off by 0.5 either way."""
    bins = [
        {
            "low": true - 0.5,
            "high": true + 0.5,
            "n": n,
            "true": true,
            "predicted": p,
            "predicted_p10": p - 0.5,
            "predicted_p90": p + 0.5,
            "gene_mean": mean,
            "mse": (p - true) ** 2,
            "mse_gene_mean": (mean - true) ** 2,
        }
        for n, true, p, mean in zip(N, TRUE, predicted, GENE_MEAN)
    ]
    bins.append({**dict.fromkeys(bins[0], None), "low": 5.0, "high": 6.0, "n": 0})
    return {"quantity": quantity, "bins": bins, "slope": slope, "variance_explained": slope**2, **more}


MADE = MadeStore(
    methods={"scgpt": -0.4, "control/untrained_scgpt": -0.5, "good": 0.6, "pca": 0.5, "gene_mean": 0.0},
    kinds={"scgpt": "model", "good": "model"},
    tasks=("reconstruction",),
    metrics={"reconstruction_pearson": "reconstruction", "reconstruction_slope": "reconstruction"},
    beside={"reconstruction_pearson": 0.7},
    low=None,
    with_outputs=False,
    details={
        "scgpt": told((9.0, 9.0, 9.0), quantity="bin", slope=0.0, also={"from the cell embedding": told((9.0, 9.1, 9.3), slope=0.06)}),
        "control/untrained_scgpt": told((0.0, 0.0, 0.0), quantity="bin", slope=0.0),
        "good": told(TRUE),
        "pca": told((1.1, 1.9, 3.0), slope=0.6),
        "gene_mean": told(GENE_MEAN, slope=0.3),
    },
)


@pytest.fixture
def store(tmp_path):
    return write(tmp_path / "results", MADE)


@pytest.fixture
def shown(store):
    gathered = gather([store])
    (comparison,) = gathered.comparisons
    return picture(comparison, gathered.runs)


def test_models_stand_beside_their_twins_and_their_other_ways(shown):
    assert [panel.name for panel in shown.panels] == [
        "good",
        "scgpt",
        "scgpt, from the cell embedding",
        "control/untrained_scgpt",
        "pca",
        "gene_mean",
    ]
    assert shown.panels[2].quantity == "log count" and shown.panels[1].quantity == "bin"


def test_means_are_over_entries_and_empty_bins_are_left_out(shown):
    panel = shown.panels[0]
    assert len(panel.bins) == 3
    assert panel.mean("true") == pytest.approx((60 * 1 + 30 * 2 + 10 * 4) / 100)


def test_the_table_has_what_the_gene_mean_scores_beside_each_method(shown, store):
    rows = {row.panel.name: row for row in shown.rows}
    table = store.scores().set_index(["method", "metric"])["value"]
    assert rows["good"].others == {"reconstruction_pearson": (pytest.approx(table["good", "reconstruction_pearson"]), 0.7)}
    assert rows["good"].panel.skill == pytest.approx(0.6) and rows["good"].interval.low > 0
    assert rows["scgpt"].interval.high < 0  # no lower bound cuts it
    assert rows["control/untrained_scgpt"].interval is None
    assert shown.headings == ("reconstruction_pearson",)  # the slope has nothing of the gene mean beside it


def test_words_name_who_beats_the_gene_mean_and_whose_line_is_flat(shown):
    assert shown.words.startswith("Better than the mean of the gene: good (0.60) and pca (0.50). Models that are not: scgpt.")
    flat = "Predictions of a gene do not follow the cell: scgpt (slope 0.00), scgpt, from the cell embedding (slope 0.06) and control"
    assert flat in shown.words
    assert 'Quantities differ ("log count" and "bin") and are not one scale' in shown.words


def test_what_the_gene_mean_scores_is_the_mean_over_seeds_like_the_score_beside_it(store):
    """At seed 1 other genes are hidden: the method scores 0.2 less, and the mean of the gene 0.7 - 0.2 = 0.5."""
    (first,) = (run for run in store.runs() if run.spec.method == "good")
    found = {score.metric: score for score in first.scores}
    pearson = found["reconstruction_pearson"]
    found["reconstruction_pearson"] = replace(pearson, value=pearson.value - 0.2, details={"gene_mean": 0.5})
    store.put(replace(first, spec=replace(first.spec, seed=1), scores=tuple(found.values())))
    gathered = gather([store])
    (row,) = (row for row in picture(gathered.comparisons[0], gathered.runs).rows if row.panel.name == "good")
    assert row.others == {"reconstruction_pearson": (pytest.approx(pearson.value - 0.1), pytest.approx(0.6))}


def test_other_tasks_have_no_picture(tmp_path):
    store = write(tmp_path / "results", MadeStore(tasks=("cell_types",), with_outputs=False))
    gathered = gather([store])
    assert picture(gathered.comparisons[0], gathered.runs) is None
    text = write_report([store], tmp_path / "report.html").read_text("utf-8")
    assert json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))["reconstructions"] == [None]


def test_the_page_carries_panels_and_table(store, tmp_path):
    text = write_report([store], tmp_path / "report.html").read_text("utf-8")
    ((drawn,)) = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))["reconstructions"]
    assert drawn["trivial"] == "the mean of the gene" and len(drawn["panels"]) == 6
    assert np.allclose([b["predicted"] for b in drawn["panels"][4]["bins"]], (1.1, 1.9, 3.0))
    assert "Models that are not: scgpt." in text and 'class="wide predictions"' in text


def test_the_terminal_says_it_too(store):
    console = Console(record=True, width=400)
    show(store, console)
    assert "Better than the mean of the gene: good (0.60) and pca (0.50)." in console.export_text()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_panels_are_drawn(store, tmp_path):
    page = write_report([store], tmp_path / "report.html")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--enable-logging=stderr", "--v=0"]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    panels = re.findall(r'<figure class="panel">.*?</figure>', done.stdout, re.S)
    assert len(panels) == 6 and all(panel.count("<circle") == 3 for panel in panels)
    assert "slope 0.60 · explains 0.36 of the variance" in panels[4] and "NaN" not in "".join(panels)
