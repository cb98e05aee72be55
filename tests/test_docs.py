"""Generated pages say what the code says."""

import re
import runpy
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]


def without_numbers(text: str) -> str:
    """Sizes of files differ between versions of libraries."""
    return re.sub(r"\d[\d,.]*", "#", text)


def test_the_page_of_bad_input_is_what_comes_back():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = runpy.run_path(str(ROOT / "docs" / "generate_bad_input.py"))["page"]()
    assert without_numbers(made) == without_numbers((ROOT / "docs" / "BAD_INPUT.md").read_text("utf-8"))


def test_the_page_of_claims_is_that_of_the_files():
    written = (ROOT / "docs" / "CLAIMS.md").read_text("utf-8")
    assert runpy.run_path(str(ROOT / "docs" / "generate_claims.py"))["page"](written) == written
