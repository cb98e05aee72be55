"""One self-contained HTML page: nothing is loaded from anywhere, no cell id and no path of the machine is in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from scrutiny.core.atomic import write_atomic
from scrutiny.core.errors import InputError
from scrutiny.engine.store import Store

from .annotation_section import parts
from .claims import ANSWERS, disputes, judge
from .facts import UNKNOWN
from .figures import chart, columns, map_scores
from .finding import SEVERITIES
from .gather import Gathered, gather
from .intervals import LEVEL
from .kinship import METRICS as KINSHIP
from .provenance import citations, versions
from .reconstruction import picture
from .reproduce import study_toml
from .scatter import Maps, maps, packed_maps
from .sentences import overall
from .table import long, wide
from .verdict import MARGIN
from .words import duration, metric_words, number, p_value, plain, rounded, split_words, title

MOST_BYTES = 10_000_000
STYLES = ("theme.css", "page.css", "figures.css", "tables.css", "annotation.css", "claims.css", "media.css")
SCRIPTS = ("page.js", "scores.js", "cost.js", "reconstruction.js", "maps.js", "table.js")


@dataclass(frozen=True)
class Detail:
    """How much goes into the page; a study that is too large for one level gets the next."""

    cells: int
    """Cells in each UMAP; 0: no UMAPs."""
    all_metrics: bool
    """All metrics in tables and figures, or the primary ones alone."""
    said: str
    """What a reader is told of what was left out."""


LEVELS = (
    Detail(2000, all_metrics=True, said=""),
    Detail(500, all_metrics=True, said="The UMAPs are thinned to 500 cells to keep this page small."),
    Detail(0, all_metrics=True, said="The UMAPs are left out to keep this page small; a report on fewer results has them."),
    Detail(0, all_metrics=False, said="UMAPs and all but the primary metrics are left out to keep this page small; the results hold them."),
)


def write_report(stores: Sequence[Store], path: str | Path) -> Path:
    """Write the report of one or several stores.

    UMAP coordinates are kept in the cache of the stores, so that the next report is drawn at once.

    Parameters
    ----------
    path
        The HTML file to write; its absolute path is returned.

    Raises
    ------
    InputError
        If the stores hold no score.
    StoreError
        If the file cannot be written.
    """
    gathered = gather(stores)
    if not gathered.comparisons:
        raise InputError("there is nothing to report: no score was found; run a study first, e.g. 'scrutiny run cells.h5ad'")
    drawn = {name: found for name in gathered.facts if (found := _maps(gathered, name)) is not None}
    pages = (render(gathered, drawn, detail).encode() for detail in LEVELS)
    page = next((page for page in pages if len(page) <= MOST_BYTES), None)
    if page is None:
        raise InputError(f"{len(gathered.comparisons)} comparisons do not fit into one page; report on fewer results at a time")
    target = Path(path).absolute()
    write_atomic(target, lambda file: file.write(page))
    return target


def render(gathered: Gathered, drawn: Mapping[str, Maps], detail: Detail) -> str:
    """The page as text; ``drawn`` holds the UMAPs of each data set."""
    found = gathered.comparisons
    tables = [wide(c, None if detail.all_metrics else [c.primary]) for c in found]
    shown = [name for name in drawn if detail.cells]
    pictures = [picture(comparison, gathered.runs) for comparison in found]
    rows = long(found)
    judged = judge(gathered)
    data = {
        "comparisons": [chart(c, v, t, gathered.cards.metrics) for c, v, t in zip(found, gathered.verdicts, tables)],
        "maps": [_packed(gathered, name, drawn[name], detail.cells) for name in shown],
        "reconstructions": [found and found.drawn for found in pictures],
        "table": columns(rows if detail.all_metrics else rows[rows["primary"].astype(bool)]),
    }
    return _template().render(
        data=htmlsafe_json_dumps(data, separators=(",", ":"), allow_nan=False),
        style=Markup("\n").join(_asset(name) for name in STYLES),
        script=Markup("\n").join(_asset(name) for name in SCRIPTS),
        overall=overall(gathered.verdicts),
        notes=gathered.notes,
        datasets=[_dataset(gathered, name, shown) for name in gathered.facts],
        pairs=list(zip(found, gathered.verdicts, tables)),
        advised=gathered.advice,
        pictures=pictures,
        annotation=parts(gathered),
        kinship_headings=KINSHIP,
        disputes=disputes(judged),
        claim_tally={answer: sum(one.answer == answer for one in judged) for answer in ANSWERS},
        problems=[gathered.problems(comparison) for comparison in found],
        findings=gathered.findings,
        tally=Counter(finding.severity for finding in gathered.findings),
        severities=SEVERITIES,
        cards=gathered.cards,
        published=gathered.published,
        citations=citations(gathered.cards, gathered.facts.values()),
        versions=versions(gathered.runs),
        finished=max((run.finished[:10] for run in gathered.runs), default=""),
        n_runs=len(gathered.runs),
        toml=study_toml(gathered.runs, list(gathered.facts.values()), gathered.cards.methods),
        left_out=detail.said,
        margin=MARGIN,
        level=f"{LEVEL:.0%}",
        unknown=UNKNOWN,
    )


def _maps(gathered: Gathered, dataset: str) -> Maps | None:
    """UMAPs of the contenders of a data set by label and by batch; None if there is nothing to draw."""
    cells, facts = gathered.cells.get(dataset), gathered.facts[dataset]
    own = [c for c in gathered.comparisons if c.key.dataset == dataset]
    by = [column for column in dict.fromkeys([*facts.label_counts, facts.roles.get("batch", "")]) if cells is not None and column in cells]
    if cells is None or not by or not own:
        return None
    keys: dict[str, list[str]] = {method: [] for comparison in own for method in comparison.contenders}
    for comparison in own:
        for row in comparison.scored[comparison.scored["method"].isin(comparison.contenders)].itertuples():
            keys[row.method].append(row.output_key)
    drawn = maps(
        gathered.stores[dataset], {method: list(dict.fromkeys(filter(None, listed))) for method, listed in keys.items()}, cells, by
    )
    return drawn if drawn.coordinates else None


def _packed(gathered: Gathered, dataset: str, drawn: Maps, most: int) -> dict[str, Any]:
    scores, roles = map_scores(gathered.comparisons, dataset), gathered.facts[dataset].roles
    packed = packed_maps(drawn, most)
    for shown in packed["maps"]:
        shown["score"] = scores.get(shown["method"], "")
    for column in packed["columns"]:
        column["role"] = "batch" if column["column"] == roles.get("batch") else "label"
    return packed


def _dataset(gathered: Gathered, name: str, shown: Sequence[str]) -> dict[str, Any]:
    """A data set with the numbers of its comparisons and of its maps in the data of the page."""
    own = [i for i, comparison in enumerate(gathered.comparisons) if comparison.key.dataset == name]
    return {"facts": gathered.facts[name], "comparisons": own, "maps": shown.index(name) if name in shown else None}


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("scrutiny.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "duration": duration,
        "plain": plain,
        "title": title,
        "metric_words": metric_words,
        "rounded": rounded,
        "p_value": p_value,
        "split_words": split_words,
        "breakable": _breakable,
    }
    return environment.get_template("page.html")


def _breakable(name: str) -> Markup:
    """A long name that may be broken after its underscores and slashes."""
    return Markup(re.sub(r"(?<=[_/])(?=\w)", "<wbr>", str(escape(name))))


def _asset(name: str) -> Markup:
    """A style sheet or script of this package: ours, so it is put into the page as it is."""
    return Markup((Path(__file__).parent / "templates" / name).read_text("utf-8"))
