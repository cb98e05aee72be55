"""Does any single-cell foundation model beat cheap methods on your own cells? By how much, how surely, at what cost."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "CellEmbedding": "core.outputs",
    "Dataset": "core.dataset",
    "Measured": "core.scores",
    "MethodCard": "core.cards",
    "MetricCard": "core.cards",
    "NotApplicable": "core.errors",
    "Problem": "core.protocols",
    "Scale": "core.dataset",
    "ScrutinyError": "core.errors",
    "TaskCard": "core.cards",
    "metric": "core.registry",
    "register_method": "core.registry",
    "register_metric": "core.registry",
    "register_task": "core.registry",
}
"""Public name -> module that holds it. Loaded on first use, so ``import scrutiny`` costs nothing."""

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'scrutiny' has no attribute '{name}'")
    return getattr(import_module(f"scrutiny.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
