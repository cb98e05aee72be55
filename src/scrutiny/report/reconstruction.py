"""Pictures of reconstruction: what a method predicts for values of each size, beside a trivial prediction and what is true.

They are drawn for every task whose primary score tells its bins in the details, so that a method that predicts the mean whatever it is
shown cannot hide behind a small error: its line is flat, or follows that of the trivial prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scrutiny.core.cards import TWIN, Kind
from scrutiny.core.scores import Run, Score

from .comparisons import Comparison
from .details import scores as scores_of
from .figures import brief
from .intervals import Interval
from .verdict import MARGIN, score_interval
from .words import listing, number

FLAT = 0.1
"""Up to this slope of predicted on true values within genes predictions do not follow the cell: the same, random or opposite."""
GENE_MEAN = "the mean of the gene"
TRIVIAL = {"depth_skill": "the thinned counts"}
"""Primary metric to what its skill is measured against; elsewhere the mean of the gene."""
DRAWN = ("true", "predicted", "predicted_p10", "predicted_p90", "gene_mean", "low", "high", "n")


@dataclass(frozen=True, eq=False)
class Panel:
    """Predictions of one method by one way, binned by the true value; ``how`` is '' for the way that is scored."""

    method: str
    how: str
    kind: Kind
    quantity: str
    bins: tuple[Mapping[str, float], ...]
    slope: float | None
    variance_explained: float | None
    skill: float | None

    def mean(self, column: str) -> float:
        """Mean of a column of the bins over all entries."""
        n = [bin["n"] for bin in self.bins]
        return float(np.average([bin[column] for bin in self.bins], weights=n))

    @property
    def name(self) -> str:
        return f"{self.method}, {self.how}" if self.how else self.method

    @property
    def is_of_a_model(self) -> bool:
        """Or of its untrained twin."""
        return self.kind == "model" or self.method.startswith(TWIN)

    @property
    def is_flat(self) -> bool:
        return self.slope is not None and self.slope <= FLAT


@dataclass(frozen=True)
class Row:
    """A line of the table: scores of a method beside those of the trivial prediction of the same entries; None where there is none."""

    panel: Panel
    interval: Interval | None
    others: Mapping[str, tuple[float | None, float | None]]
    """Heading to the value and that of the trivial prediction."""

    @property
    def is_better(self) -> bool:
        """Better than the trivial prediction by more than `MARGIN`, and surely so, as far as there are replicates to tell."""
        skill = self.panel.skill
        return skill is not None and skill > MARGIN and (self.interval is None or self.interval.low > 0)


@dataclass(frozen=True, eq=False)
class Picture:
    """What the page shows of one comparison."""

    panels: tuple[Panel, ...]
    rows: tuple[Row, ...]
    headings: tuple[str, ...]
    trivial: str
    words: str

    @property
    def drawn(self) -> dict[str, Any]:
        """The panels as JSON."""
        return {"trivial": self.trivial, "panels": [_drawn(panel) for panel in self.panels]}


def picture(comparison: Comparison, runs: Sequence[Run]) -> Picture | None:
    """The picture of a comparison; None if its primary score tells no bins. Of several seeds the first is drawn."""
    scores = scores_of(comparison, runs)
    panels = _panels(comparison, {method: found[comparison.primary][0].details for method, found in scores.items()})
    if not panels:
        return None
    trivial = TRIVIAL.get(comparison.primary, GENE_MEAN)
    rows = tuple(_row(comparison, panel, scores[panel.method]) for panel in panels)
    headings = tuple(dict.fromkeys(heading for row in rows for heading in row.others))
    return Picture(panels, rows, headings, trivial, _words(rows, trivial))


def _panels(comparison: Comparison, details: Mapping[str, Mapping[str, Any]]) -> tuple[Panel, ...]:
    """Each model, best first, with its other ways and its untrained twins behind it; then the baselines and the other controls."""
    registered = comparison.rows.drop_duplicates("method").set_index("method")["registered"]
    controls = comparison.methods("control")
    order: list[str] = []
    for model in comparison.methods("model"):
        order += [model, *(control for control in controls if registered[control] == f"{TWIN}{registered[model]}")]
    order += [*comparison.methods("baseline"), *controls]
    return tuple(
        _panel(comparison, method, how, {"quantity": details[method].get("quantity", ""), **told})
        for method in dict.fromkeys(order)
        for how, told in {"": details[method], **details[method].get("also", {})}.items()
        if told.get("bins")
    )


def _panel(comparison: Comparison, method: str, how: str, told: Mapping[str, Any]) -> Panel:
    skill = told.get("skill") if how else comparison.value(method, comparison.primary)
    bins = tuple(bin for bin in told["bins"] if bin["n"])
    kind = comparison.kinds[method]
    return Panel(method, how, kind, str(told["quantity"]), bins, told.get("slope"), told.get("variance_explained"), skill)


def _row(comparison: Comparison, panel: Panel, scores: Mapping[str, Sequence[Score]]) -> Row:
    """Both numbers of a heading are means over the same seeds: other entries may be hidden at each."""
    if panel.how:
        return Row(panel, None, {})
    trivial = {name: [score.details["gene_mean"] for score in found if "gene_mean" in score.details] for name, found in scores.items()}
    others = {name: (comparison.value(panel.method, name), float(np.mean(found))) for name, found in trivial.items() if found}
    return Row(panel, score_interval(comparison, panel.method), others)


def _words(rows: Sequence[Row], trivial: str) -> str:
    """What the pictures say, in words."""
    scored = [row for row in rows if not row.panel.how and row.panel.kind != "control"]
    better = [f"{row.panel.method} ({number(row.panel.skill)})" for row in scored if row.is_better]
    said = [f"Better than {trivial}: {listing(better)}." if better else f"Nothing is better than {trivial}."]
    if worse := [row.panel.method for row in scored if row.panel.kind == "model" and not row.is_better]:
        said.append(f"Models that are not: {listing(worse)}." if better else "")
    flat = [f"{row.panel.name} (slope {number(row.panel.slope)})" for row in rows if row.panel.is_flat and row.panel.is_of_a_model]
    if flat:
        said.append(f"Predictions of a gene do not follow the cell: {listing(flat)}.")
    quantities = list(dict.fromkeys(row.panel.quantity for row in rows if row.panel.quantity))
    if len(quantities) > 1:
        listed = listing([f'"{quantity}"' for quantity in quantities])
        said.append(f"Quantities differ ({listed}) and are not one scale: compare the skill across them, never the errors.")
    return " ".join(filter(None, said))


def _drawn(panel: Panel) -> dict[str, Any]:
    return {
        "name": panel.name,
        "kind": panel.kind,
        "quantity": panel.quantity,
        "slope": brief(panel.slope),
        "varianceExplained": brief(panel.variance_explained),
        "mean": brief(panel.mean("true")),
        "bins": [{name: brief(bin.get(name)) for name in DRAWN} for bin in panel.bins],
    }
