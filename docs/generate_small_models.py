"""Write the generated parts of SMALL_MODELS.md: the curves of the trainings, and the tables of the studies that were run.

python docs/generate_small_models.py STORE ...   take the scores of these studies' folders into benchmarks/results, then write
python docs/generate_small_models.py             write
"""

import json
import sys
from pathlib import Path

import pandas as pd

from scrutiny.engine.store import Store
from scrutiny.methods.foundation.minis import FOLDER
from scrutiny.report.comparisons import Comparison, comparisons
from scrutiny.report.finding_twins import twins
from scrutiny.report.gather import gather
from scrutiny.report.training import write_curves
from scrutiny.report.verdict import paired
from scrutiny.tuning.curves import read_log

HERE = Path(__file__).parent
PAGE, RESULTS = HERE / "SMALL_MODELS.md", HERE.parent / "benchmarks" / "results"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
MINIS = ("rank", "bins", "joint")


def generated() -> str:
    parts = ["## Training", ""]
    for name in MINIS:
        folder = FOLDER / name
        picture = write_curves(read_log(folder / "log.csv"), HERE / "images" / f"mini-{name}.svg", title=f"scrutiny/mini-{name}")
        trained = json.loads((folder / "scrutiny.json").read_text("utf-8"))["trained"]
        parts += [f"![training of mini-{name}]({picture.relative_to(HERE).as_posix()})", ""]
        parts += [
            f"`{trained['objective']['name']}`: {trained['steps']:,} steps, {trained['cells_shown']:,} cells shown, "
            f"{trained['teraflops']:.0f} "
            f"teraflops, {trained['seconds'] / 60:.0f} minutes on a shared core; held-out loss {trained['validation']:.3f}.",
            "",
        ]
    for path in sorted(RESULTS.glob("study_*.csv")):
        parts += [f"## {path.stem.removeprefix('study_').replace('_', ' ').capitalize()}", "", *table(pd.read_csv(path)), ""]
    return "\n".join(parts)


def table(scores: pd.DataFrame) -> list[str]:
    """One table a data set and task, best first."""
    lines = []
    for (dataset, task, metric), part in scores.groupby(["dataset", "task", "metric"], sort=True):
        head = ["| method | value | over seeds | minus its untrained twin (95 % interval) |", "|---|---|---|---|"]
        lines += [f"**{dataset}, {task}: {metric}**", "", *head]
        for row in part.sort_values("value", ascending=False, kind="stable").itertuples():
            seeds = f"{row.lowest:.3f} to {row.highest:.3f}" if row.seeds > 1 else "one"
            beside = f"{row.beside:+.3f} ({row.beside_low:+.3f} to {row.beside_high:+.3f})" if pd.notna(row.beside_low) else ""
            lines.append(f"| {row.method} | {row.value:.3f} | {seeds} | {beside} |")
        lines.append("")
    return lines


def scores_of(stores: list[Store]) -> pd.DataFrame:
    """Primary scores of all methods, and the paired difference of each model from its untrained twin."""
    return pd.DataFrame([row for comparison in comparisons(gather(stores).table) for row in rows_of(comparison)])


def rows_of(comparison: Comparison) -> list[dict[str, object]]:
    rows, values, known = [], comparison.primary_values, twins(comparison)
    seeds = comparison.scored[comparison.scored["metric"] == comparison.primary].groupby("method")["value"]
    for method, value in (comparison.sign * values).items():
        twin = max((t for t in known.get(method, ()) if t in values), key=lambda name: values[name], default=None)
        beside = paired(comparison, method, twin) if twin else None
        own = seeds.get_group(method)
        rows.append(
            {
                "dataset": comparison.key.dataset,
                "task": comparison.key.task,
                "metric": comparison.primary,
                "method": method,
                "value": round(value, 4),
                "seeds": len(own),
                "lowest": round(own.min(), 4),
                "highest": round(own.max(), 4),
                "beside": round(beside.estimate, 4) if beside else None,
                "beside_low": round(beside.low, 4) if beside else None,
                "beside_high": round(beside.high, 4) if beside else None,
            }
        )
    return rows


def main() -> None:
    for folder in sys.argv[1:]:
        scores_of([Store(folder)]).to_csv(RESULTS / f"study_{Path(folder).name.replace('-', '_')}.csv", index=False)
    (HERE / "images").mkdir(exist_ok=True)
    page = PAGE.read_text("utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n\n{generated()}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
