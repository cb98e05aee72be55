"""Write the tables of LABEL_STUDIES.md from the studies of labels that were run.

python docs/generate_label_studies.py STORE ...   take the scores of these studies' folders into benchmarks/results, then write
python docs/generate_label_studies.py             write
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scrutiny.engine.store import Store
from scrutiny.report.comparisons import Comparison
from scrutiny.report.finding_twins import twins
from scrutiny.report.gather import gather
from scrutiny.report.verdict import paired, score_interval

HERE = Path(__file__).parent
PAGE, RESULTS = HERE / "LABEL_STUDIES.md", HERE.parent / "benchmarks" / "results"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
FEW = "annotation_few_"
CHEAP = "hvg_pca+logreg"
"""What differences are from: the plain probe, named beforehand."""
MORE = ("accuracy", "macro_f1_rare", "lcad", "accuracy_subtype", "ece", "ece_calibrated", "coverage", "accuracy_accepted", "novelty_auroc")

DIFFERENCES = {"minus_cheap": f"minus {CHEAP}", "minus_twin": "minus its twin"}
COSTS = {"trainable": "trained", "seconds_fit": "s to fit", "cells_per_second": "cells/s", "peak_memory_mb": "MB"}


def main() -> None:
    for folder in sys.argv[1:]:
        rows = [row for found in gather([Store(folder)]).comparisons for row in rows_of(found)]
        pd.DataFrame(rows).to_csv(RESULTS / f"labels_{Path(folder).name.replace('-', '_')}.csv", index=False)
    page = PAGE.read_text("utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{generated()}\n{END}{after}", "utf-8")


def rows_of(found: Comparison) -> Iterator[dict[str, object]]:
    """Primary score, its interval, differences from the plain probe and from the untrained twin, further scores and cost of each method."""
    known, cost = twins(found), found.cost
    for method, value in (found.sign * found.primary_values).items():
        own = score_interval(found, method)
        twin = max((t for t in known.get(method, ()) if t in found.primary_values), key=found.primary_values.get, default=None)
        row: dict[str, object] = {**found.key._asdict(), "metric": found.primary, "method": method, "value": value}
        for name, interval in (
            ("", own),
            ("minus_cheap", paired(found, method, CHEAP) if method != CHEAP and CHEAP in found.primary_values else None),
            ("minus_twin", paired(found, method, twin) if twin else None),
        ):
            row |= {f"{name}_{part}".strip("_"): getattr(interval, part) for part in ("estimate", "low", "high")} if interval else {}
        row |= {name: found.value(method, name) for name in MORE}
        row |= {name: cost.at[method, name] for name in COSTS if method in cost.index}
        yield {name: round(x, 4) if isinstance(x, float) else x for name, x in row.items()}


def generated() -> str:
    parts = []
    for path in sorted(RESULTS.glob("labels_*.csv")):
        scores = pd.read_csv(path)
        parts += [f"## {path.stem.removeprefix('labels_').replace('_', ' ').capitalize()}", ""]
        for dataset, part in scores.groupby("dataset", sort=False):
            for task, own in part.groupby("task", sort=False):
                if not task.startswith(FEW):
                    parts += [f"**{dataset}, {task}: {own['metric'].iloc[0]}**", "", *table(own), ""]
            if part["task"].str.startswith(FEW).any():
                parts += [f"**{dataset}, macro-F1 by labelled cells of a type**", "", *by_shots(part), ""]
    return "\n".join(parts).rstrip() + "\n"


def table(scores: pd.DataFrame) -> list[str]:
    """Best first; columns that nobody has a number for are left out."""
    more = [name for name in MORE if name in scores and scores[name].notna().any()]
    head = ["method", "value (95 %)", *DIFFERENCES.values(), *more, *COSTS.values()]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lower = scores["metric"].iloc[0] == "lcad"
    for _, row in scores.sort_values("value", ascending=lower, kind="stable").iterrows():
        cells = [row["method"], f"{row['value']:.3f}" + _between(row, "", ".2f")]
        cells += [_difference(row, name) for name in DIFFERENCES]
        cells += [f"{row[name]:.2f}" if _has(row, name) else "" for name in more]
        cells += [f"{row[name]:,.0f}" if _has(row, name) else "" for name in COSTS]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def by_shots(scores: pd.DataFrame) -> list[str]:
    """Methods by labelled cells of a type; all: the task annotation."""
    wide = scores.pivot_table(index="method", columns="task", values="value", aggfunc="first")
    tasks = sorted((t for t in wide if t.startswith(FEW)), key=lambda t: int(t.removeprefix(FEW)))
    tasks += ["annotation"] if "annotation" in wide else []
    names = [task.removeprefix(FEW) if task.startswith(FEW) else "all" for task in tasks]
    lines = ["| method | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for method, row in wide.sort_values(tasks[-1], ascending=False, kind="stable").iterrows():
        lines.append(f"| {method} | " + " | ".join(f"{row[t]:.2f}" if pd.notna(row[t]) else "" for t in tasks) + " |")
    return lines


def _difference(row: pd.Series, name: str) -> str:
    return f"{row[f'{name}_estimate']:+.2f}" + _between(row, f"{name}_", "+.2f") if _has(row, f"{name}_low") else ""


def _between(row: pd.Series, prefix: str, how: str) -> str:
    return f" ({row[f'{prefix}low']:{how}} to {row[f'{prefix}high']:{how}})" if _has(row, f"{prefix}low") else ""


def _has(row: pd.Series, name: str) -> bool:
    return name in row and pd.notna(row[name])


if __name__ == "__main__":
    main()
