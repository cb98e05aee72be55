"""docs/METRICS.md is what the cards say."""

import importlib.util
from pathlib import Path

import pytest

from scrutiny.core.builtins import METRICS as BUILTIN
from scrutiny.core.registry import METRICS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_metrics", DOCS / "generate_metrics.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(generator):
    current = generator.PAGE.read_text()
    assert generator.page(current) == current, "run python docs/generate_metrics.py"


def test_a_changed_card_would_be_seen(generator):
    current = generator.PAGE.read_text()
    assert generator.page(current.replace("perplexity 30", "perplexity 20")) == current


def test_what_is_written_by_hand_stays(generator):
    changed = "By hand above.\n" + generator.BEGIN + "old" + generator.END + "\nBy hand below."
    page = generator.page(changed)
    assert page.startswith("By hand above.\n") and page.endswith("\nBy hand below.")
    assert "old" not in page.split(generator.BEGIN)[1][:5]


def test_every_metric_is_on_the_page_with_its_reasons(generator):
    page = generator.PAGE.read_text()
    for name in BUILTIN:
        assert f"### `{name}`" in page
        card = METRICS.get(name).card
        assert card.name == name
        assert card.recipe in page
        assert card.recipe.endswith(".")
    assert "where the task does not give what it needs" not in page, "each metric says in its docstring when there is no value"
