"""Write the generated part of METRICS.md from the cards of the metrics.

python docs/generate_metrics.py            write
python docs/generate_metrics.py --check    say whether it is up to date, change nothing
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from scrutiny.core.builtins import METRICS as BUILTIN
from scrutiny.core.registry import DERIVED, METRICS, Derived, Metric

PAGE = Path(__file__).with_name("METRICS.md")
BEGIN, END = "<!-- generated from the cards: begin -->", "<!-- generated from the cards: end -->"
FAMILIES = {
    "overall": "Summary scores",
    "cell types": "Cell types",
    "annotation": "Told labels and probes",
    "calibration": "Confidence",
    "ontology": "Cell Ontology",
    "batches": "Batches",
    "conservation": "Conservation",
    "reconstruction": "Reconstruction",
}


def generated() -> str:
    """Overview and details of every built-in metric, family by family."""
    metrics = [METRICS.get(name) for name in BUILTIN]
    return "\n\n".join(section(title, [m for m in metrics if m.card.family == family]) for family, title in FAMILIES.items())


def section(title: str, metrics: list[Metric]) -> str:
    head = ["| metric | better | range | floor | roof | |", "|---|---|---|---|---|---|"]
    return "\n".join([f"## {title}", "", *head, *map(row, metrics), *(line for metric in metrics for line in details(metric))])


def row(metric: Metric) -> str:
    card = metric.card
    controls = [f"`{control}`" if control else "not scaled" for control in (card.floor, card.roof)]
    marks = "label-tuned" if card.label_tuned else ""
    return f"| [`{card.name}`](#{card.name}) | {card.better} | {card.low:.3g} to {card.high:.3g} | {' | '.join(controls)} | {marks} |"


def details(metric: Metric) -> Iterator[str]:
    card = metric.card
    yield f"\n### `{card.name}`\n"
    yield inspect.cleandoc(metric.function.__doc__ or "").partition("\n\n")[0].replace("\n", " ") + "\n"
    yield f"- **Recipe** (version {card.version}): {card.recipe}"
    if card.source:
        yield f"- **After**: {card.source}"
    yield f"- **Needs**: {', '.join(f'`{name}`' + (' (optional)' if name in metric.optional else '') for name in metric.needs)}"
    yield f"- **Not applicable**: {'; '.join(reasons(metric)) or 'where the task does not give what it needs'}"


def reasons(source: Metric | Derived) -> list[str]:
    """Why there may be no value: what the docstring says of it and of the derived evidence it rests on, and the metrics it names."""
    found = raised(source)
    firm = [name for name in source.needs if name not in source.optional]
    for name in firm:
        if name in DERIVED:
            found += reasons(DERIVED.get(name))
    parts = [f"`{name}`" for name in firm if name in METRICS and name not in DERIVED]
    if parts:
        found.append(f"if one of {', '.join(parts)} is not")
    return list(dict.fromkeys(found))


def raised(source: Metric | Derived) -> list[str]:
    text = re.search(r"^NotApplicable\n((?: {4}.*\n?)+)", inspect.cleandoc(source.function.__doc__ or ""), re.MULTILINE)
    if text is None:
        return []
    reason = " ".join(text[1].split()).rstrip(".")
    return [reason[0].lower() + reason[1:]]


def page(current: str) -> str:
    """The page with its generated part made anew; what is written by hand stays."""
    before, _, rest = current.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{generated()}\n\n{END}{after}"


def main() -> int:
    current = PAGE.read_text()
    wanted = page(current)
    if "--check" in sys.argv[1:]:
        print("METRICS.md is up to date" if wanted == current else "METRICS.md is out of date: run python docs/generate_metrics.py")
        return int(wanted != current)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
