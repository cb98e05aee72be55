"""How genes are called: one Ensembl id for every spelling that a gene table knows, one human gene for a mouse gene."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scrutiny.core.errors import InputError

ENSEMBL = re.compile(r"^(ENS[A-Z]{0,6}G)(\d{11})(\.\d+)?(_PAR_Y)?$", re.IGNORECASE)
ORGANISMS = {"ENSG": "human", "ENSMUSG": "mouse", "ENSRNOG": "rat", "ENSDARG": "zebrafish", "ENSMMUG": "macaque", "ENSSSCG": "pig"}


def strip_versions(ids: Iterable[str]) -> NDArray[np.str_]:
    """Ensembl gene ids without version and ``_PAR_Y``, in upper case; everything else as it is. Shape (n_ids,)."""
    return pd.Series(list(ids), dtype=str).str.replace(ENSEMBL, lambda m: f"{m[1]}{m[2]}".upper(), regex=True).to_numpy(str)


def organism_of(ids: pd.Series) -> str:
    """Organism of the Ensembl ids among these names, "unknown" if there are none."""
    prefixes = ids.str.extract(ENSEMBL)[0].dropna()
    if prefixes.empty:
        return "unknown"
    most = prefixes.str.upper().mode()[0]
    return ORGANISMS.get(most, f"Ensembl {most}")


@dataclass(frozen=True, eq=False)
class GeneBook:
    """Every spelling that a gene table knows -> Ensembl id.

    Attributes
    ----------
    organism
        As the Ensembl ids tell.
    exact
        Ensembl ids and symbols as spelt. A symbol of several ids stands for the lowest one, which is the oldest.
    folded
        Upper-case symbols and synonyms, those that mean one gene only.
    symbols
        Ensembl id -> symbol.
    """

    organism: str
    exact: Mapping[str, str]
    folded: Mapping[str, str]
    symbols: Mapping[str, str]

    @classmethod
    def of(cls, table: pd.DataFrame) -> GeneBook:
        """Read a table with ``ensembl_id``, ``symbol`` and perhaps ``synonyms``. Raises InputError if it lacks a column."""
        genes = checked(table)
        symbols = genes[genes["symbol"] != ""].drop_duplicates("symbol")
        exact = dict(zip(symbols["symbol"], symbols["ensembl_id"], strict=True))
        folded = _unambiguous(symbols["symbol"], symbols["ensembl_id"])
        if "synonyms" in genes:
            split = genes.assign(synonym=genes["synonyms"].str.split("|")).explode("synonym")
            split = split[split["synonym"] != ""]
            folded = {**_unambiguous(split["synonym"], split["ensembl_id"]), **folded}
        exact |= dict(zip(genes["ensembl_id"], genes["ensembl_id"], strict=True))
        return cls(organism_of(genes["ensembl_id"][:100]), exact, folded, dict(zip(genes["ensembl_id"], genes["symbol"], strict=True)))

    def ensembl_ids(self, names: Iterable[str]) -> NDArray[np.str_]:
        """Ensembl id of every name (n_names,), '' where the table knows none: as spelt first, then without case and as synonyms."""
        return np.array([self.exact.get(name) or self.folded.get(name.upper(), "") for name in strip_versions(names)], dtype=str)

    def symbols_of(self, ensembl_ids: Iterable[str]) -> NDArray[np.str_]:
        """Symbol of every Ensembl id (n_ids,), '' where the table has none."""
        return np.array([self.symbols.get(id, "") for id in ensembl_ids], dtype=str)


def checked(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a gene table that have an Ensembl id, lowest first, without versions. Raises InputError if it lacks a column."""
    if not {"ensembl_id", "symbol"} <= set(table.columns):
        raise InputError(f"a gene table needs the columns ensembl_id and symbol; this one has {list(table.columns)}")
    genes = table.fillna("").astype(str)
    genes = genes.assign(ensembl_id=strip_versions(genes["ensembl_id"])).sort_values("ensembl_id", kind="stable")
    return genes[genes["ensembl_id"] != ""].drop_duplicates("ensembl_id")


def human_by_mouse(orthologues: pd.DataFrame) -> dict[str, str]:
    """Upper-case mouse symbol -> the one human symbol it stands for: the only one, or of several the one of the same name.

    Raises InputError if a column is missing.
    """
    if not {"human_symbol", "mouse_symbol"} <= set(orthologues.columns):
        raise InputError(f"orthologues need the columns human_symbol and mouse_symbol; there are {list(orthologues.columns)}")
    pairs = orthologues[["human_symbol", "mouse_symbol"]].dropna().astype(str).drop_duplicates()
    pairs = pairs.assign(mouse=pairs["mouse_symbol"].str.upper())
    namesakes = pairs[pairs["mouse"] == pairs["human_symbol"].str.upper()]
    single = pairs[~pairs["mouse"].duplicated(keep=False)]
    return {**dict(zip(single["mouse"], single["human_symbol"])), **dict(zip(namesakes["mouse"], namesakes["human_symbol"]))}


def _unambiguous(names: pd.Series, ids: pd.Series) -> dict[str, str]:
    pairs = pd.DataFrame({"name": names.str.upper(), "id": ids}).drop_duplicates()
    pairs = pairs[~pairs["name"].duplicated(keep=False)]
    return dict(zip(pairs["name"], pairs["id"], strict=True))
