"""Nothing of the machine, no cell id."""

import pytest

from scrutiny.report.privacy import without_traces


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot open /home/ann/data/cells.h5ad: no such file", "cannot open cells.h5ad: no such file"),
        ("'/Users/Ann Smith/my data/cells.h5ad' is torn", "'cells.h5ad' is torn"),
        (r"C:\Users\Ann Smith\cells.h5ad is torn", "cells.h5ad is torn"),
        ("read from ~/lab/cells.h5ad", "read from cells.h5ad"),
        ("file:///home/ann/cells.h5ad", "a local file"),
        ("lacks ['AAACCTGAGAAACCAT-1', 'donor3_TTGGAACTCCGTAGTA']", "lacks ['(cell id)', '(cell id)']"),
    ],
)
def test_traces_go(text, shown):
    assert without_traces(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "see https://doi.org/10.1038/ncomms14049",
        "(s + 1) / 2",
        "0.6/0.4, n/a",
        "CD4+/CD25 T Reg",
        "control/shuffle",
        "the gene CAT",
        "<b>bold</b>",
    ],
)
def test_the_rest_stays(text):
    assert without_traces(text) == text
