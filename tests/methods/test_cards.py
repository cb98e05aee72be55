"""Every built-in method says what a reader must know before trusting its numbers."""

import os
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


HEAVY = ("scvi", "torch", "harmonypy", "scanorama", "scanpy", "anndata", "sklearn", "transformers", "huggingface_hub")


@pytest.mark.parametrize(("of_foundation", "allowed"), [(False, []), (True, ["torch"])])
def test_optional_packages_are_imported_only_when_a_method_runs(of_foundation, allowed):
    code = (
        "import sys\nfrom scrutiny.core.builtins import METHODS as DOTTED\nfrom scrutiny.core.registry import METHODS, TASKS\n"
        f"[METHODS.get(name) for name, dotted in DOTTED.items() if ('.foundation.' in dotted) is {of_foundation}]\n"
        "[TASKS.get(name) for name in TASKS.names()]\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(allowed)


def test_without_torch_the_models_are_listed_with_what_they_need():
    code = "import sys; sys.modules['torch'] = None; from scrutiny.cli import main; sys.argv = ['scrutiny', 'list', 'methods']; main()"
    env = {**os.environ, "COLUMNS": "250"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    (line,) = (line for line in done.stdout.splitlines() if line.strip().startswith("geneformer"))
    assert "needs torch" in line and "scrutiny[models]" in line, done.stdout + done.stderr
