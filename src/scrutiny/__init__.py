"""Does any single-cell foundation model beat cheap methods on your own cells? By how much, how surely, at what cost."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "CellEmbedding": "core.outputs",
    "Dataset": "core.dataset",
    "InputError": "core.errors",
    "Measured": "core.scores",
    "MethodCard": "core.cards",
    "MetricCard": "core.cards",
    "NotApplicable": "core.errors",
    "Problem": "core.protocols",
    "Report": "report.notebook",
    "Scale": "core.dataset",
    "ScrutinyError": "core.errors",
    "Store": "engine.store",
    "Study": "engine.study",
    "TaskCard": "core.cards",
    "annotate": "engine.annotate",
    "derived": "core.registry",
    "embed": "engine.once",
    "from_anndata": "data.read",
    "metric": "core.registry",
    "read": "data.read",
    "read_h5ad": "data.read:read",
    "register_method": "core.registry",
    "register_metric": "core.registry",
    "register_task": "core.registry",
    "score_embedding": "report.ready_made",
}
"""Public name -> module that holds it (``module:name`` where it has another name there). Loaded on first use: importing costs nothing."""

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'scrutiny' has no attribute '{name}'")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(f"scrutiny.{module}"), attribute or name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
