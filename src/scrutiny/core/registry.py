"""Names to things. Built-ins stand in one table of dotted names, plugins come in by entry point; both load on first use."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from .builtins import CLIENTS as BUILTIN_CLIENTS
from .builtins import DERIVED as BUILTIN_DERIVED
from .builtins import HEADS as BUILTIN_HEADS
from .builtins import METHODS as BUILTIN_METHODS
from .builtins import METRICS as BUILTIN_METRICS
from .builtins import TASK_GROUPS
from .builtins import TASKS as BUILTIN_TASKS
from .cards import MethodCard, MetricCard
from .errors import InputError, MissingDependency
from .scores import Measured

EXTRA_OF = {"torch": "models", "safetensors": "models"}
"""Package that a class cannot be loaded without -> the extra that installs it."""


class Registry:
    """One kind of thing by name.

    Built-ins are ``name -> "module:attribute"``. Plugins are entry points of the group ``scrutiny.<kind>s``; their names carry a
    namespace (``acme/hashnet``). Two things of one name are an error, never a silent choice.
    """

    def __init__(self, kind: str, builtins: dict[str, str]) -> None:
        self.kind = kind
        self._builtins = builtins
        self._registered: dict[str, Any] = {}

    def register(self, name: str, thing: Any) -> None:
        """Add a thing for this process, e.g. from a notebook. Registering the same object again does nothing."""
        known = self._registered.get(name)
        if name in self._builtins or (known is not None and known is not thing):
            raise InputError(f"the {self.kind} '{name}' is already registered; give yours another name, e.g. 'mine/{name}'")
        self._registered[name] = thing

    @property
    def registered(self) -> dict[str, Any]:
        """What was added in this process."""
        return dict(self._registered)

    def adopt(self, things: Mapping[str, Any]) -> None:
        """Take over what another process registered, so that a child knows the classes of its parent's notebook."""
        self._registered.update(things)

    def get(self, name: str) -> Any:
        """The thing of that name. Raises InputError with near matches if there is none."""
        if name in self._registered:
            return self._registered[name]
        if name in self._builtins:
            return _load(name, self._builtins[name])
        plugins = self._plugins
        if name in plugins:
            return _load(name, plugins[name])
        near = difflib.get_close_matches(name, self.names(), cutoff=0.5)
        hint = f"did you mean {near}?" if near else f"there is {self.names()}"
        raise InputError(f"no {self.kind} is called '{name}'; {hint}")

    def names(self) -> list[str]:
        """All names, sorted; nothing is loaded."""
        return sorted({*self._builtins, *self._registered, *self._plugins})

    def __contains__(self, name: str) -> bool:
        return name in self._builtins or name in self._registered or name in self._plugins

    @cached_property
    def _plugins(self) -> dict[str, str]:
        """Name to dotted name, read once: every look-up of an unknown name comes by here, and reading takes milliseconds."""
        found: dict[str, str] = {}
        for point in entry_points(group=f"scrutiny.{self.kind}s"):
            if point.name in self._builtins or found.get(point.name, point.value) != point.value:
                raise InputError(f"two packages offer a {self.kind} called '{point.name}' ({point.value}); uninstall one of them")
            found[point.name] = point.value
        return found


def _load(name: str, dotted: str) -> Any:
    module, _, attribute = dotted.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == module.split(".")[0]:
            raise
        extra = EXTRA_OF.get((error.name or "").split(".")[0], "all")
        raise MissingDependency(f"'{name}' needs {error.name}, which is not installed: pip install 'scrutiny[{extra}]'") from error


HEADS = Registry("head", BUILTIN_HEADS)
CLIENTS = Registry("client", BUILTIN_CLIENTS)


class Methods(Registry):
    """Methods, and the combinations ``METHOD+HEAD`` of one that embeds, or has a net, with one of `HEADS` that tells labels from it.

    A head has a class method ``on(name, method)`` that gives the combined class.
    """

    def get(self, name: str) -> Any:
        method, plus, head = name.rpartition("+")
        if not plus or super().__contains__(name):
            return super().get(name)
        if name not in self._combined:
            self._combined[name] = HEADS.get(head).on(name, super().get(method))
        return self._combined[name]

    def __contains__(self, name: str) -> bool:
        method, plus, head = name.rpartition("+")
        return super().__contains__(name) or (bool(plus) and super().__contains__(method) and head in HEADS)

    @cached_property
    def _combined(self) -> dict[str, Any]:
        return {}


METHODS = Methods("method", BUILTIN_METHODS)
TASKS = Registry("task", BUILTIN_TASKS)
METRICS = Registry("metric", BUILTIN_METRICS)
DERIVED = Registry("derived", BUILTIN_DERIVED)


def named_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """Names of tasks, those of `TASK_GROUPS` written out."""
    return tuple(task for name in names for task in TASK_GROUPS.get(name, (name,)))


@dataclass(frozen=True)
class Metric:
    """A pure function and its card. ``needs`` are its positional parameters: names of evidence."""

    card: MetricCard
    function: Callable[..., float | Measured]
    needs: tuple[str, ...]
    optional: frozenset[str]
    """Names with a default: left out where there is no such evidence."""

    def __call__(self, *arrays: Any, **named: Any) -> float | Measured:
        return self.function(*arrays, **named)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.function.__doc__


@dataclass(frozen=True)
class Derived:
    """Evidence that is made from other evidence, e.g. ``neighbors`` from ``embedding``."""

    name: str
    function: Callable[..., Any]
    needs: tuple[str, ...]
    optional: frozenset[str]
    rowwise: bool = False
    """An array with one entry per cell that may be cut to some cells instead of being made again (predictions)."""

    def __call__(self, *arrays: Any, **named: Any) -> Any:
        return self.function(*arrays, **named)


def metric(card: MetricCard) -> Callable[[Callable[..., float | Measured]], Metric]:
    """Make a Metric of a function: positional parameters name the evidence, keyword-only ones are options."""

    def wrap(function: Callable[..., float | Measured]) -> Metric:
        needs, optional, options = _parameters(function)
        return Metric(replace(card, options=options), function, needs, optional)

    return wrap


def derived(name: str, *, rowwise: bool = False) -> Callable[[Callable[..., Any]], Derived]:
    """Make Derived evidence of a function; parameters as for `metric`."""

    def wrap(function: Callable[..., Any]) -> Derived:
        needs, optional, _ = _parameters(function)
        return Derived(name, function, needs, optional, rowwise)

    return wrap


def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], frozenset[str], dict[str, object]]:
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return tuple(p.name for p in positional), frozenset(p.name for p in positional if p.default is not p.empty), options


def register_method(cls: type) -> type:
    """Class decorator for this process. Packages use the entry point group ``scrutiny.methods`` instead."""
    METHODS.register(cls.card.name, cls)  # type: ignore[attr-defined]
    return cls


def register_task(cls: type) -> type:
    TASKS.register(cls.card.name, cls)  # type: ignore[attr-defined]
    return cls


def register_metric(thing: Metric) -> Metric:
    METRICS.register(thing.card.name, thing)
    return thing


def check_installed(card: MethodCard) -> None:
    """Raise MissingDependency if a module that the method needs cannot be found; nothing is imported."""
    require(card.requires, card.extra, needed_by=card.name)


def require(modules: Iterable[str], extra: str, *, needed_by: str) -> None:
    lacking = missing(modules)
    if lacking:
        how = f"pip install 'scrutiny[{extra}]'" if extra else f"pip install {' '.join(lacking)}"
        raise MissingDependency(f"{needed_by} needs {', '.join(lacking)}, which is not installed: {how}")


def missing(modules: Iterable[str]) -> list[str]:
    """Those of the modules that cannot be imported, without importing any."""
    return [module for module in modules if find_spec(module) is None]
