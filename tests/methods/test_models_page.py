"""docs/MODELS.md is what the cards, the table of checkpoints and the measured parity say."""

import importlib.util
from pathlib import Path

import pytest

from scrutiny.core.registry import METHODS
from scrutiny.data.checkpoints import checkpoints, default_checkpoints

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_models", DOCS / "generate_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(generator):
    current = generator.PAGE.read_text("utf-8")
    assert generator.page(current) == current, "run python docs/generate_models.py"


def test_every_model_is_on_the_page_with_its_licence_and_its_parity(generator):
    text = generator.PAGE.read_text("utf-8")
    for family in default_checkpoints():
        part = text.split(f"\n## {family}\n")[1].split("\n## ")[0]
        card = METHODS.get(family).card.model
        assert generator.cell(card.weights_licence) in part and generator.COMMERCIAL[card.commercial] in part
        assert "Against the reference implementation" in part, family
        assert all(f"`{name}`" in part for name, known in checkpoints().items() if known.family == family)


def test_differences_are_within_the_tolerances_of_the_tests(generator):
    import json

    for model, noted in json.loads(generator.PARITY.read_text("utf-8")).items():
        for name, told in noted["compared"].items():
            assert told["largest_difference"] <= max(told["atol"], 1e-12) or told["rtol"] > 1e-7, f"{model}: {name}"
