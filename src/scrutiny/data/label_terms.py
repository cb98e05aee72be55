"""Which term of the Cell Ontology a label is: by a table, a column of the data, name or synonym. What is ambiguous is not guessed."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError
from scrutiny.core.ontology import UNKNOWN, LabelTerms, Ontology

from .ontology import read_table

TERM_COLUMN = "cell_type_ontology_term_id"
"""Where the CELLxGENE schema keeps the term of each cell."""
N_NEAR = 3
SHORTEST = 3
"""Letters of a word that may be the beginning of another one."""


class Unmapped(NamedTuple):
    """A label for which no term was found."""

    label: str
    candidates: tuple[str, ...]
    """Terms that have just this name, where there are several; otherwise terms with a name like it."""
    is_ambiguous: bool

    def sentence(self, ontology: Ontology) -> str:
        named = ", ".join(f"{term} {ontology.name(term)}" for term in self.candidates)
        return f"'{self.label}' ({'may be any of' if self.is_ambiguous else 'near'} {named})" if named else f"'{self.label}'"


class Mapped(NamedTuple):
    """The labels that have a term, and those that have none."""

    terms: LabelTerms
    unmapped: tuple[Unmapped, ...]


def map_labels(
    labels: Iterable[str],
    ontology: Ontology,
    *,
    table: Mapping[str, str] | None = None,
    column: Mapping[str, str] | None = None,
) -> Mapped:
    """Find the term of each label.

    In this order: the user's ``table`` and the ``column`` of the data (label -> term); the label is an id; one term has that name; one term
    has that synonym; one term has that name with the word "cell". Case, punctuation and plurals make no difference, ``+`` is "positive".
    """
    by_label, found_by, unmapped = {}, {}, []
    names = _Names(ontology)
    for label in sorted({*labels} - {*UNKNOWN}):
        for how, term in (("table", (table or {}).get(label)), ("column", (column or {}).get(label)), *names.found(label)):
            if term:
                by_label[label], found_by[label] = term, how
                break
        else:
            unmapped.append(names.unmapped(label))
    return Mapped(LabelTerms(ontology, by_label, found_by), tuple(unmapped))


def map_data(data: Dataset, column: str, ontology: Ontology, table: Mapping[str, str] | None = None) -> Mapped:
    """Find the terms of the labels in a column, see `map_labels`.

    The column `TERM_COLUMN` of the data counts for a label where all cells of the label have one term, and no other label has it.
    """
    labels = data.obs[column].astype(str).unique().tolist()
    return map_labels(labels, ontology, table=table, column=_of_column(data, column, ontology))


def with_terms(data: Dataset, columns: Iterable[str], ontology: Ontology, table: Mapping[str, str] | None = None) -> Dataset:
    """The data with the terms of the labels in these columns, see `map_data`; a note says which labels have none."""
    found: dict[str, str] = {}
    how: dict[str, str] = {}
    notes = []
    for column in columns:
        mapped = map_data(data, column, ontology, table)
        found, how = {**mapped.terms.by_label, **found}, {**mapped.terms.found_by, **how}
        notes.append(_note(column, mapped))
    return replace(data, terms=LabelTerms(ontology, dict(sorted(found.items())), how), notes=(*data.notes, *notes))


def read_terms_table(path: str | Path, ontology: Ontology) -> dict[str, str]:
    """Label -> term of a tab-separated table with the columns ``label`` and ``cl_id``; obsolete terms become those that replaced them.

    Labels whose ``cl_id`` is empty or "unknown" are not there.

    Raises
    ------
    InputError
        If it cannot be read, gives a label two terms, or names a term that the ontology does not have.
    """
    path = Path(path).expanduser()
    table = read_table(path, ("label", "cl_id"))
    found: dict[str, str] = {}
    for label, written in zip(table["label"].tolist(), table["cl_id"].tolist(), strict=True):
        if written in UNKNOWN:
            continue
        term = current(written, ontology)
        if term is None:
            raise InputError(f"{path} says that '{label}' is {written}, which the ontology has not; expected ids as {ontology.terms[0]}")
        if found.setdefault(label, term) != term:
            raise InputError(f"{path} gives the label '{label}' two terms, {found[label]} and {term}; expected one")
    return found


def current(term: str, ontology: Ontology) -> str | None:
    """The term itself, also written as CL_0000236, or what replaced it; None where the ontology knows neither."""
    term = term.strip().replace("CL_", "CL:")
    term = ontology.replaced_by.get(term, term)
    return term if term in ontology else None


def _of_column(data: Dataset, label_column: str, ontology: Ontology) -> dict[str, str]:
    """Label -> term by `TERM_COLUMN`, for labels that have one term alone, which no other label has."""
    if TERM_COLUMN not in data.obs or label_column == TERM_COLUMN:
        return {}
    pairs = data.obs[[label_column, TERM_COLUMN]].astype(str).drop_duplicates()
    single = ~(pairs[label_column].duplicated(keep=False) | pairs[TERM_COLUMN].duplicated(keep=False))
    known = {label: current(term, ontology) for label, term in pairs[single].itertuples(index=False)}
    return {label: term for label, term in known.items() if term is not None}


def _note(column: str, mapped: Mapped) -> str:
    terms, lacking = mapped.terms, mapped.unmapped
    version = f" (version {terms.ontology.version})" if terms.ontology.version else ""
    n_labels = len(terms.by_label) + len(lacking)
    said = f"{len(terms.by_label)} of {n_labels} labels of '{column}' are terms of the Cell Ontology{version}."
    if not lacking:
        return said
    shown = "; ".join(one.sentence(terms.ontology) for one in lacking[:5])
    more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    return f"{said} Not mapped: {shown}{more}. A table of label and cl_id can be given with --terms."


class _Names:
    """Terms by what they are called."""

    def __init__(self, ontology: Ontology) -> None:
        self.ontology = ontology
        self.by_name, self.by_synonym = _spellings(ontology)

    def found(self, label: str) -> list[tuple[str, str]]:
        """How and which; nothing for what several terms are called."""
        called = [(how, next(iter(terms)) if len(terms) == 1 else None) for how, terms in self._called(label)]
        return [(how, term) for how, term in (("id", current(label, self.ontology)), *called) if term is not None][:1]

    def unmapped(self, label: str) -> Unmapped:
        several = [terms for _, terms in self._called(label) if len(terms) > 1]
        if several:
            return Unmapped(label, tuple(sorted(several[0])), True)
        return Unmapped(label, _near(spelling_of(label), self.ontology), False)

    def _called(self, label: str) -> list[tuple[str, frozenset[str]]]:
        """A name goes before a synonym, also where several terms have the name; "cell" is added to names alone ("alpha" may be any)."""
        spelling = spelling_of(label)
        for how, known, wanted in (
            ("name", self.by_name, spelling),
            ("synonym", self.by_synonym, spelling),
            ("name", self.by_name, f"{spelling} cell"),
        ):
            if wanted in known:
                return [(how, known[wanted])]
        return []


def _near(spelling: str, ontology: Ontology) -> tuple[str, ...]:
    """The terms that have most of the words of a spelling in a name, and few others; rare words count more."""
    known, words = _words(ontology)
    wanted = set(spelling.split()) - {"cell"}
    alike = {word: set(difflib.get_close_matches(word, words, n=3, cutoff=0.8)) | _beginning(word, words) for word in wanted - words.keys()}
    wanted = (wanted & words.keys()).union(*alike.values())
    if not wanted:
        return ()

    def fit(name: frozenset[str]) -> float:
        return sum(words[word] for word in name & wanted) / sum(words[word] for word in name | wanted)

    best: dict[str, float] = {}
    for name, terms in known.items():
        if name & wanted:
            best |= {term: max(fit(name), best.get(term, 0.0)) for term in terms}
    return tuple(sorted(best, key=lambda term: (-best[term], term))[:N_NEAR])


def _beginning(start: str, words: Iterable[str]) -> set[str]:
    return {word for word in words if word.startswith(start)} if len(start) >= SHORTEST else set()


@lru_cache(maxsize=4)
def _words(ontology: Ontology) -> tuple[dict[frozenset[str], set[str]], dict[str, float]]:
    """Terms by the words of a name, and how rare each word is (the logarithm of how many names there are for each that has it)."""
    names: dict[frozenset[str], set[str]] = defaultdict(set)
    for known in _spellings(ontology):
        for spelling, terms in known.items():
            names[frozenset(spelling.split()) - {"cell"}] |= terms
    counts = Counter(word for name in names for word in name)
    return names, {word: math.log(1 + len(names) / n) for word, n in counts.items()}


@lru_cache(maxsize=4)
def _spellings(ontology: Ontology) -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    names, synonyms = defaultdict(set), defaultdict(set)
    for term, name in zip(ontology.terms.tolist(), ontology.names.tolist(), strict=True):
        if name:
            names[spelling_of(name)].add(term)
        for other in ontology.synonyms.get(term, ()):
            synonyms[spelling_of(other)].add(term)
    by_name, by_synonym = ({spelling: frozenset(terms) for spelling, terms in known.items()} for known in (names, synonyms))
    return by_name, by_synonym


def spelling_of(name: str) -> str:
    """Lower case, words apart by one blank, in the singular, without punctuation: 'CD14+ Monocytes' is 'cd14 positive monocyte'."""
    text = re.sub(r"(?<=\w)\+", " positive ", name.lower())
    text = re.sub(r"(?<=\w)-(?=[\s/,;]|$)", " negative ", text)
    return " ".join(_singular(word) for word in re.findall(r"[^\W_]+", text))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
