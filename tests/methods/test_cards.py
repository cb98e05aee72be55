"""Every built-in method says what a reader must know before trusting its numbers."""

import subprocess
import sys

import pytest

from scrutiny.core.registry import METHODS

BUILT_IN = [name for name in METHODS.names() if "/" not in name or name.startswith("control/")]


@pytest.mark.parametrize("name", BUILT_IN)
def test_card_is_complete(name):
    card = METHODS.get(name).card
    assert card.name == name
    assert card.summary
    assert (card.kind == "control") == name.startswith("control/")
    assert card.seconds_to_start >= 0
    if card.kind == "baseline":
        assert card.licence
        assert card.trained_on == frozenset(), "baselines have seen nothing before"
    if card.requires:
        assert card.extra, "an optional package needs the extra that installs it"
        assert card.citation


def test_optional_packages_are_imported_only_when_a_method_runs():
    modules = ("scvi", "torch", "harmonypy", "scanorama", "scanpy", "anndata", "sklearn")
    code = (
        "import sys\nfrom scrutiny.core.registry import METHODS, TASKS\n"
        "[registry.get(name) for registry in (METHODS, TASKS) for name in registry.names()]\n"
        f"print([m for m in {modules!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
