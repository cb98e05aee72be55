"""Contracts that plugin authors run on their own methods, metrics, tasks, stores and nets."""

from typing import Any

from .annotator import check_label_predictor
from .checks import CheckResult, Outcome
from .embedder import check_embedder
from .metric import check_metric
from .parametrize import parametrize_with_checks
from .reconstructor import check_reconstructor
from .store import check_store
from .task import check_task

__all__ = [
    "CheckResult",
    "Outcome",
    "check_embedder",
    "check_label_predictor",
    "check_metric",
    "check_net",
    "check_reconstructor",
    "check_store",
    "check_task",
    "parametrize_with_checks",
]


def __getattr__(name: str) -> Any:
    """`check_net` is loaded on first use: it needs PyTorch, which the others do without."""
    if name != "check_net":
        raise AttributeError(f"module 'scrutiny.testing' has no attribute '{name}'")
    from .net import check_net

    return check_net
