"""The study as a TOML file that runs again: made from the Runs themselves, without any path of the machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scrutiny.core.cards import TWIN
from scrutiny.core.scores import Run
from scrutiny.data.catalog import catalog
from scrutiny.data.sample import N_CELLS
from scrutiny.engine.nets import NET

from .facts import UNKNOWN, DatasetFacts
from .privacy import without_traces
from .provenance import Card

LEFT_OUT = "left out:"
"""How the reason begins of a method that the budget was too small for."""


def study_toml(runs: Sequence[Run], datasets: Sequence[DatasetFacts], methods: Mapping[str, Card]) -> str:
    """What ``scrutiny run study.toml`` needs to do these Runs again.

    Data sets of the catalogue and checkpoints that were fetched go by name. Other data sets stand as ``<name>.h5ad``, which the reader
    has to put beside the file; of other checkpoints the key stands where the reader has to name a folder. Nets that were trained stand with
    their whole config; the files of their corpus are looked for where the original study had them, seen from this file.

    Parameters
    ----------
    methods
        Cards by name.
    """
    kept = [run for run in runs if not run.reason.startswith(LEFT_OUT)]
    chosen = {_method(run, methods.get(run.spec.method, {})): None for run in kept if _without_head(run) not in (NET, f"{TWIN}{NET}")}
    nets = _nets([run for run in kept if _without_head(run) == NET])
    lines = [
        f"seeds = [{', '.join(map(str, _seeds(runs, methods)))}]",
        f"tasks = [{', '.join(_text(task) for task in dict.fromkeys(run.spec.task for run in runs))}]",
        "methods = [",
        *(f"  {method}," for method in chosen),
        "]",
    ]
    for facts in datasets:
        lines += ["", "[[datasets]]", *_dataset(facts)]
    for net in nets:
        lines += ["", net]
    return "\n".join(lines) + "\n"


def _seeds(runs: Sequence[Run], methods: Mapping[str, Card]) -> list[int]:
    """Those of the study: of methods that draw and ask for no more seeds than it has; without one of them, all."""
    cards = [(run.spec.seed, methods.get(run.spec.method, {})) for run in runs]
    own = {seed for seed, card in cards if card.get("seeded") and card.get("least_seeds", 1) == 1}
    return sorted(own or {seed for seed, _ in cards})


def _method(run: Run, card: Card) -> str:
    options = {name: value for name, value in run.spec.method_options.items() if value is not None}
    told = run.facts.get("weights") or {}
    if (told or card.get("model")) and (key := options.pop("weights", "")):
        options["checkpoint"] = told.get("checkpoint") or f"folder of the weights {key}"
    if not options:
        return _text(run.spec.method)
    return f"{{ name = {_text(run.spec.method)}, options = {_value(options)} }}"


def _without_head(run: Run) -> str:
    """Name of the method that a head is on, or of the method."""
    return run.spec.method.partition("+")[0]


def _nets(runs: Sequence[Run]) -> list[str]:
    """Each net that was trained, with the heads that were on it; its twin follows from it."""
    heads: dict[str, dict[str, None]] = {}
    for run in runs:
        options, head = run.spec.method_options, run.spec.method.partition("+")[2]
        tables = {**options.get("config", {}), **({"use": options["use"]} if options.get("use") else {})}
        name = str(run.facts.get("called") or NET).removesuffix(f"+{head}")
        lines = ["[[nets]]", f"name = {_text(name)}", *(f"{table} = {_value(content)}" for table, content in tables.items())]
        heads.setdefault("\n".join(lines), {}).update({head: None} if head else {})
    return [f"{net}\nheads = {_value(list(on_it))}" if on_it else net for net, on_it in heads.items()]


def _dataset(facts: DatasetFacts) -> list[str]:
    known = facts.catalog in catalog()
    lines = [f"catalog = {_text(facts.catalog)}" if known else f"path = {_text(facts.name + '.h5ad')}"]
    if not known:
        lines.append(f"name = {_text(facts.name)}")
    labels = list(facts.label_columns)
    lines += [f"label = {_value(labels)}"] if labels else []
    made = {"label", *(["split"] if "hold_out" in facts.chosen_cells else [])}
    more = {role: column for role, column in facts.roles.items() if role not in made}
    lines += [f"{name} = {_value(values)}" for name, values in facts.chosen_cells.items()]
    lines += [f"roles = {_value(more)}"] if more else []
    if not known:
        lines += [f"layer = {_text(facts.layer)}"] if facts.layer else []
        lines += [f"organism = {_text(facts.organism)}"] if facts.organism != UNKNOWN else []
        lines += [f"facts = {_value({'label_origin': facts.label_origin})}"] if facts.label_origin != UNKNOWN else []
    if facts.cells_before_sampling is None:
        return [*lines, 'cells = "all"']
    return lines if facts.n_cells == N_CELLS else [*lines, f"cells = {facts.n_cells}"]


def _value(value: Any) -> str:
    """A value as TOML; what TOML does not know is written as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(v) for v in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_text(str(k))} = {_value(v)}" for k, v in value.items() if v is not None) + " }"
    return _text(without_traces(str(value)))


def _text(text: str) -> str:
    """A basic string; JSON escapes what TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False)
