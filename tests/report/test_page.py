"""The page: self-contained, private, safe against hostile labels, small; and alive in a real browser."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_stores import MadeStore, write

from scrutiny.core.errors import InputError
from scrutiny.report import page, scatter
from scrutiny.report.page import write_report

HOSTILE = "<script>window.stolen = 1</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --enable-logging=stderr --v=0 --virtual-time-budget=4000"
).split()


@pytest.fixture(autouse=True)
def quick_layout(monkeypatch):
    """UMAP itself takes seconds to load; its coordinates are tested elsewhere."""
    monkeypatch.setattr(scatter, "layout", lambda values: np.asarray(values[:, :2], dtype=np.float32))


@pytest.fixture
def store(tmp_path):
    made = MadeStore(
        labels=("T cell", "B cell", HOSTILE, 'quote " and & ampersand'),
        notes=("Values are from /home/ann/secret/cells.h5ad.", "3 of 123 cells were left out: <b>bold</b>."),
        failed={"scvi": "OSError: /home/ann/weights.pt lacks AAACCTGAGAAACCAT-1"},
    )
    return write(tmp_path / "results", made)


@pytest.fixture
def text(store, tmp_path) -> str:
    return write_report([store], tmp_path / "report.html").read_text("utf-8")


def payload(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S).group(1))


def test_nothing_is_loaded_from_anywhere(text):
    assert "default-src 'none'" in text
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", text)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import\(|new Image", text)


def test_no_cell_id_and_no_folder(text, tmp_path):
    assert "cell_00" not in text and "AAACCTGAGAAACCAT" not in text
    assert "/home/ann" not in text and str(tmp_path) not in text
    assert "weights.pt" in text and "cells.h5ad" in text


def test_hostile_labels_stay_text(text):
    assert HOSTILE not in text and "<b>bold</b>" not in text
    assert html.escape("<b>bold</b>") in text
    assert HOSTILE in payload(text)["maps"][0]["columns"][0]["levels"]


def test_it_says_what_a_reader_needs(text):
    for needed in (
        "Verdict",
        "Recommendation",
        "Download CSV",
        "scrutiny run study.toml",
        "To cite",
        "Made et al. 2020",
        "Else 2018",
        "Failed: scvi",
    ):
        assert needed in text, needed


def test_all_scores_are_in_the_data(text, store):
    table = payload(text)["table"]
    scores = store.scores()
    values = next(c["values"] for c in table["columns"] if c["name"] == "value")
    assert table["length"] == len(scores)
    assert np.allclose(sorted(v for v in values if v is not None), sorted(scores["value"].dropna()), rtol=1e-4)


def test_the_page_is_small(text):
    assert len(text.encode()) < 300_000


def test_maps_are_drawn_once_and_the_cache_may_go(store, tmp_path, monkeypatch):
    first = write_report([store], tmp_path / "a.html").read_text("utf-8")
    monkeypatch.setattr(scatter, "layout", lambda values: pytest.fail("computed again"))
    assert write_report([store], tmp_path / "b.html").read_text("utf-8") == first
    store.clean_cache()
    bare = write_report([store], tmp_path / "c.html").read_text("utf-8")
    assert payload(bare)["maps"] == [] and "Verdict" in bare


def test_a_large_study_gets_less_detail_and_says_so(store, tmp_path, monkeypatch):
    whole = len(write_report([store], tmp_path / "a.html").read_bytes())
    monkeypatch.setattr(page, "MOST_BYTES", whole - 1000)
    less = write_report([store], tmp_path / "b.html").read_text("utf-8")
    assert len(less.encode()) < whole - 1000 and "left out to keep this page small" in less
    monkeypatch.setattr(page, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="do not fit into one page"):
        write_report([store], tmp_path / "c.html")


def test_data_without_labels(tmp_path):
    store = write(tmp_path / "results", MadeStore(tasks=("batch_mixing",), metrics={}))
    text = write_report([store], tmp_path / "report.html").read_text("utf-8")
    assert "Only the mixing of batches is measured here" in text and "No recommendation" in text


PROBE = """
const told = { errors: [] };
window.addEventListener("error", (e) => told.errors.push(e.message));
addEventListener("load", () => setTimeout(() => {
  const table = document.querySelector("table.wide");
  const column = () => [...table.tBodies[0].rows].map((r) => r.cells[1].dataset.value);
  const button = table.querySelectorAll("thead tr:last-child th button")[1];
  button.click(); told.descending = column();
  button.click(); told.ascending = column();
  told.csv = csv(data.table).split("\\r\\n").length;
  told.rows = document.querySelectorAll(".score-row:not(.head)").length;
  told.charts = document.querySelectorAll(".cost svg").length;
  const canvas = document.querySelector(".map canvas");
  const blank = document.createElement("canvas");
  Object.assign(blank, { width: canvas.width, height: canvas.height });
  const pictures = [blank.toDataURL(), canvas.toDataURL()];
  document.querySelector(".legend button").click(); pictures.push(canvas.toDataURL());
  told.pictures = new Set(pictures).size;
  document.querySelectorAll(".segments button")[1].click();
  told.batches = [...document.querySelectorAll(".legend button")].map((b) => b.textContent);
  const select = document.querySelector("select");
  select.value = [...select.options].find((o) => o.textContent === "asw_label").value;
  select.dispatchEvent(new Event("change"));
  told.note = document.querySelector("[data-scores] .figure-note").textContent;
  document.getElementById("theme").click(); told.theme = document.documentElement.dataset.theme;
  told.overflow = document.documentElement.scrollWidth - innerWidth;
  told.stolen = window.stolen ?? null;
  const answer = document.createElement("pre");
  answer.id = "told"; answer.textContent = JSON.stringify(told); document.body.append(answer);
}, 300));
"""


def in_browser(path: Path, width: int, profile: Path) -> dict:
    """What a script in the page sees after clicking about; the log must not hold an error."""
    probed = path.with_name(f"probed-{width}.html")
    probed.write_text(path.read_text("utf-8").replace("</body>", f"<script>{PROBE}</script></body>"), "utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},2000", "--dump-dom", probed.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    return json.loads(html.unescape(re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.S).group(1)))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_lives(store, tmp_path, width):
    told = in_browser(write_report([store], tmp_path / "report.html"), width, tmp_path / "profile")
    numbers = [float(v) for v in told["descending"] if v]
    assert numbers == sorted(numbers, reverse=True)
    assert told["ascending"][: len(numbers)] == told["descending"][: len(numbers)][::-1]
    assert told["csv"] == len(store.scores()) + 2  # header and the end of the last line
    assert told["rows"] > 0 and told["charts"] == 2
    assert told["pictures"] == 3  # nothing, all levels, one of them
    assert sorted(told["batches"]) == ["b1", "b2"]
    assert told["note"].startswith("How asw_label is computed")
    assert told["theme"] == "dark"
    assert told["errors"] == [] and told["stolen"] is None
    assert told["overflow"] <= 0
