"""Contracts that plugin authors run on their own methods, metrics, tasks and stores."""

from .checks import CheckResult, Outcome
from .embedder import check_embedder
from .metric import check_metric
from .parametrize import parametrize_with_checks
from .store import check_store
from .task import check_task

__all__ = ["CheckResult", "Outcome", "check_embedder", "check_metric", "check_store", "check_task", "parametrize_with_checks"]
