"""Which columns could be the label, the batch, the donor ..., for files that come without a word: proposals with their reasons."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pandas as pd

from scrutiny.core.dataset import Dataset

MOST_VALUES = 200
"""A column with more values than this holds neither types nor batches that can be judged one by one."""
FEWEST_PER_VALUE = 3
"""Cells that a value must have on average."""

_TYPE = r"cell[ ._-]?types?"
_ID = r"([ ._-]?(id|name|key|no))?"
CLUSTERING = r"(seurat|rna|wsnn)?[ ._-]?(snn)?.*(clust|louvain|leiden|phenograph|_res\.).*"
"""Names of columns that a clustering made."""
PATTERNS = {
    "label": (
        (_TYPE, "is named cell type"),
        (rf".*{_TYPE}.*", "has cell type in its name"),
        (r"labels?|bulk_labels?|cell[ ._-]?(labels?|ontology[ ._-]class|identity|class|line)", "is named as labels are"),
        (r".*(annot|sub[ ._-]?type|cell[ ._-]?(class|line)|label).*", "is named as an annotation is"),
        (CLUSTERING, "is a clustering, which favours methods like the one that made it"),
    ),
    "batch": (
        (rf"batch{_ID}", "is named batch"),
        (r".*batch.*", "has batch in its name"),
        (rf"(study|data[ ._-]?set){_ID}", "is named as a study is"),
        (
            rf"(sample|library|channel|lane|plate|run|chemistry|tech|technology|assay|platform|protocol){_ID}",
            "is named as a technical unit is",
        ),
        (r"orig[ ._-]?ident", "is where Seurat keeps the sample"),
        (rf"(donor|patient|individual|subject|participant|mouse|animal){_ID}", "is named donor, and donors are often batches"),
    ),
    "donor": ((rf"(donor|patient|individual|subject|participant|mouse|animal){_ID}", "is named donor"),),
    "study": ((rf"(study|data[ ._-]?set){_ID}", "is named as a study is"),),
    "species": ((r"species|organism", "is named species"),),
    "tissue": ((r"(tissue|organ)([ ._-](tissue|general))?", "is named tissue"),),
}
"""Role -> (pattern of the whole name, what to say of it), best first; case does not matter."""
NEVER = re.compile(r".*(ontology[ ._-]term|colou?rs?$|score|percent|pct|n_(genes|counts|umi)).*", re.IGNORECASE)
"""Columns that tell something else, whatever the rest of their name."""
EXPECTED = ("label", "batch")
"""Roles that nearly all data have: worth a word where none was found."""


@dataclass(frozen=True)
class Proposal:
    """A column that could play a role. ``rank`` is 0 for the best kind of name."""

    role: str
    column: str
    n_values: int
    rank: int
    reason: str

    def __str__(self) -> str:
        return f"'{self.column}' ({self.n_values} values): it {self.reason}"


def propose_roles(obs: pd.DataFrame) -> dict[str, tuple[Proposal, ...]]:
    """Role (label, batch, donor, study, species, tissue) -> the columns that could play it, best first; an empty tuple where none could.

    The name decides, if the values allow it: at least two, with at least three cells each on average, and whole or text. Of names of
    one kind the column with more values comes first, so the finer annotation before the coarser one.
    """
    return {role: tuple(sorted(_named_so(obs, role), key=lambda p: (p.rank, -p.n_values, p.column))) for role in PATTERNS}


def with_proposed_roles(data: Dataset) -> Dataset:
    """The data with the best proposal in each role that nobody set; the notes say what was taken and what else there was.

    A label column that a clustering made, by its name, gives the fact ``label_origin`` = "clustered" where the facts have none.
    """
    roles, notes = dict(data.roles), []
    for role, proposals in propose_roles(data.obs).items():
        if role in roles:
            continue
        if not proposals:
            if role not in EXPECTED:
                continue
            notes.append(f"No {role} column was found{_near_misses(data.obs, role)}; name one with --{role} COLUMN if there is one.")
            continue
        roles[role] = proposals[0].column
        others = f" Others could be: {', '.join(repr(p.column) for p in proposals[1:])}." if proposals[1:] else ""
        notes.append(f"Nobody named the {role}, so it was taken from {proposals[0]}.{others}")
    clustered = {"label_origin": "clustered"} if re.fullmatch(CLUSTERING, roles.get("label", ""), re.IGNORECASE) else {}
    return replace(data, roles=roles, facts={**clustered, **data.facts}, notes=(*data.notes, *notes))


def _named_so(obs: pd.DataFrame, role: str) -> list[Proposal]:
    proposals = []
    for column in obs.columns:
        rank = _rank(str(column), role)
        if rank is not None and _usable(obs[column]):
            reason = PATTERNS[role][rank][1]
            proposals.append(Proposal(role, str(column), int(obs[column].nunique()), rank, reason))
    return proposals


def _rank(column: str, role: str) -> int | None:
    if NEVER.fullmatch(column):
        return None
    return next((i for i, (pattern, _) in enumerate(PATTERNS[role]) if re.fullmatch(pattern, column, re.IGNORECASE)), None)


def _usable(column: pd.Series) -> bool:
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 != 0).any():
        return False
    n_values = column.nunique()
    return 2 <= n_values <= min(MOST_VALUES, len(column) / FEWEST_PER_VALUE)


def _near_misses(obs: pd.DataFrame, role: str) -> str:
    single = [str(c) for c in obs.columns if _rank(str(c), role) is not None and obs[c].nunique() < 2]
    return f" ('{single[0]}' has a single value)" if single else ""
