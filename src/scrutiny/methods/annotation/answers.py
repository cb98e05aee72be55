"""Answers of a language model, which are untrusted text, and the labels that they mean."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence

MAX_ANSWER = 200
"""Characters of an answer that are looked at and kept."""
NEAR = 0.85
"""Least similarity (difflib) of an answer and a label that are one name spelt in two ways."""


def cleaned(answer: str) -> str:
    """The first line of an answer that says something, without control characters, markup and surrounding punctuation; at most 200."""
    lines = ("".join(c if unicodedata.category(c)[0] != "C" else " " for c in line) for line in answer.splitlines())
    told = next((line.strip(" \t*_`\"'.:;#-") for line in lines if line.strip(" \t*_`\"'.:;#-")), "")
    return " ".join(told.split())[:MAX_ANSWER]


def meant(answer: str, labels: Sequence[str]) -> str | None:
    """The one of the labels that an answer means; None if it means none of them, or one cannot tell which.

    In this order: the label itself; the same without case, punctuation and plurals; the longest label that the answer holds as a whole;
    the nearest spelling, if it is near and no other label is as near.
    """
    told = cleaned(answer)
    if told in labels:
        return told
    plain: dict[str, list[str]] = {}
    for label in labels:
        plain.setdefault(_plain(label), []).append(label)
    forms = {form: same[0] for form, same in plain.items() if form and len(same) == 1}
    words = _plain(told)
    if words in forms:
        return forms[words]
    held = sorted((form for form in forms if f" {form} " in f" {words} "), key=len, reverse=True)
    if held and not _is_denied(words, held[0]) and all(other in held[0] for other in held):
        return forms[held[0]]
    near = difflib.get_close_matches(words, list(forms), n=2, cutoff=NEAR)
    scores = [difflib.SequenceMatcher(None, form, words).ratio() for form in near]
    return forms[near[0]] if near and (len(near) == 1 or scores[0] > scores[1]) else None


def _plain(name: str) -> str:
    """In small letters, words without plural s, everything else a space; "+" stays a word, since it tells CD4+ from CD4-."""
    spelt = re.sub(r"[^\w+]+", " ", unicodedata.normalize("NFKC", name).casefold().replace("+", " + "))
    return " ".join(_singular(word) for word in spelt.split())


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us")) else word


def _is_denied(words: str, form: str) -> bool:
    return bool(re.search(rf"\b(not|no|non)\b[^.]*\b{re.escape(form)}", words))
