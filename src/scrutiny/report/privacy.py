"""Nothing of the user's machine and no cell id leaves in a report: texts are cleaned before they are shown."""

from __future__ import annotations

import re

_URL = r"(?P<url>[a-z][a-z0-9+.-]*://[^\s'\"<>]+)"
_WINDOWS = r"(?P<windows>\b[A-Za-z]:\\(?:[^\\'\"<>|\n]+\\)*)"
_UNIX = r"(?P<unix>(?<![\w.)/+])~?/(?=\S)(?:[^/'\"<>|:,;\n]+/)+)(?=[^/\s'\"<>|:,;])"
_BARCODE = r"(?P<barcode>[\w.:#-]*[ACGTN]{12,}[\w.:#-]*)"
_TRACE = re.compile("|".join((_URL, _WINDOWS, _UNIX, _BARCODE)))


def without_traces(text: str) -> str:
    """The text with folders cut off file names and cell barcodes left out; URLs stay.

    ``/home/ann/data/cells.h5ad`` becomes ``cells.h5ad``, ``AAACCTGAGAAACCAT-1`` becomes ``(cell id)``.
    """
    return _TRACE.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    if match.lastgroup == "url":
        return "a local file" if match.group().lower().startswith("file:") else match.group()
    return "(cell id)" if match.lastgroup == "barcode" else ""
