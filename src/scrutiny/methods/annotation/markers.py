"""Cell types by their marker genes: clusters of the query, the genes that are highest in each, and a language model that names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scrutiny.core.cards import MethodCard
from scrutiny.core.dataset import Dataset
from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.core.keys import digest_of_json
from scrutiny.core.labels import UNLABELLED, LabelPrediction
from scrutiny.data.prepare import log_values, pca
from scrutiny.metrics.rank_sum import rank_sum_scores

from .answers import cleaned, meant
from .clients import Client, client_of
from .heads import clusters_of

UNMAPPED = "(unmapped)"
"""Told of the cells of a cluster whose answers mean none of the labels: always wrong."""
GENES_AT_A_TIME = 2_000


class Markers:
    """Ask for the name of each cluster of the query, given its marker genes. Nothing is learnt; of the training cells only names are read.

    Clusters are those of Leiden on 50 principal components of the variable genes of the query; markers have the highest rank-sum score
    (Wilcoxon) of a cluster against all other cells. Each answer votes for the label that it means (`answers.meant`).

    Parameters
    ----------
    client
        Name of a client, or "module:Class"; see `clients`.
    client_options
        Its options.
    genes
        Markers of a cluster that are told.
    samples
        How often each cluster is asked; the probability of a label is its share of the answers.
    offer_labels
        Whether the prompt lists the labels of the training cells; else the answer is free text, mapped to them all the same.
    tissue
        Told in the prompt; "": not told.
    resolution
        Of Leiden; more gives more clusters.
    """

    card = MethodCard(
        "markers",
        "a language model names each cluster by its 10 highest marker genes",
        kind="model",
        scale=None,
        reads=frozenset({"label"}),
        supervised=True,
        together=True,
        trained_on=None,
        seconds_per_1000_cells=2.0,
        seconds_to_start=30.0,
        licence="that of the language model",
        citation="Hou and Ji 2024, Nature Methods 21:1462 (the idea)",
    )
    outside_key = frozenset({"client_options"})
    n_trainable = 0

    def __init__(
        self,
        client: str = "",
        client_options: Mapping[str, Any] | None = None,
        genes: int = 10,
        samples: int = 1,
        offer_labels: bool = True,
        tissue: str = "",
        resolution: float = 1.0,
    ) -> None:
        if genes < 1 or samples < 1:
            raise InputError(f"genes and samples must be at least 1; found {genes} and {samples}")
        self._client: Client | None = client_of(client, client_options or {}) if client else None
        self.genes, self.samples, self.offer_labels, self.tissue, self.resolution = genes, samples, offer_labels, tissue, resolution
        self.told: Mapping[str, Any] = {}

    @property
    def weights_key(self) -> str:
        """What the answers depend on; where answers lie, or a limit of requests, is no part of it."""
        return digest_of_json(dict(self._client.identity)) if self._client else ""

    def check_applies(self, data: Dataset) -> None:
        """Raise NotApplicable if nobody can be asked."""
        self._asked().check_ready()

    def facts(self, data: Dataset) -> dict[str, Any]:
        """What a report must know: who is asked."""
        return {"client": dict(self._client.identity)} if self._client else {}

    def fit(self, train: Dataset, *, seed: int) -> Self:
        labels = train.role("label")
        self._names = np.unique(labels[labels != UNLABELLED])
        if len(self._names) < 2:
            raise NotApplicable(f"the training cells have the labels {self._names.tolist()}; at least two are needed to choose from")
        return self

    def predict_labels(self, query: Dataset) -> LabelPrediction:
        clusters = clusters_of(pca(query).transform(query), self.resolution)
        named = [self._name(markers, query.organism) for markers in marker_genes(query, clusters, self.genes)]
        self.told = {"clusters": [{**cluster.told, "cells": int((clusters == i).sum())} for i, cluster in enumerate(named)]}
        names = np.unique([*self._names, *(label for cluster in named for label in cluster.votes)])
        shares = np.zeros((len(named), len(names)), np.float32)
        for row, cluster in zip(shares, named):
            for label, votes in cluster.votes.items():
                row[np.searchsorted(names, label)] = votes / self.samples
        return LabelPrediction(query.cell_ids, names, shares[clusters])

    def _name(self, markers: list[str], organism: str) -> Named:
        candidates = [str(name) for name in self._names]
        prompt = prompt_for(markers, organism=organism, tissue=self.tissue, candidates=candidates if self.offer_labels else [])
        answers = [self._asked().ask(prompt, sample=sample) for sample in range(self.samples)]
        return Named(markers, [cleaned(answer) for answer in answers], Counter(meant(answer, candidates) or UNMAPPED for answer in answers))

    def _asked(self) -> Client:
        if self._client is None:
            raise NotApplicable("nobody is asked: name a client, e.g. client = 'recorded' or 'http' with its client_options")
        return self._client


@dataclass(frozen=True)
class Named:
    """A cluster, what was answered, and the labels that the answers mean."""

    markers: list[str]
    answers: list[str]
    votes: Mapping[str, int]

    @property
    def told(self) -> dict[str, Any]:
        return {"markers": self.markers, "answers": self.answers, "votes": dict(self.votes)}


def prompt_for(markers: list[str], *, organism: str, tissue: str, candidates: list[str]) -> str:
    """The question about one cluster."""
    of_what = f" {organism}" if organism != "unknown" else ""
    where = f" from {tissue}" if tissue else ""
    choose = "Choose one of these names: " + "; ".join(candidates) + "." if candidates else "Use the common name of the cell type."
    return (
        f"These genes are higher in one cluster of{of_what} cells{where} than in all others, the clearest first: {', '.join(markers)}.\n"
        f"Which cell type is it? {choose}\n"
        "Answer with the name alone, in one line, without any explanation."
    )


def marker_genes(data: Dataset, clusters: NDArray[np.integer], n_top: int) -> list[list[str]]:
    """Names of the genes with the highest rank-sum score of each cluster, highest first, equal ones in the order of the file.

    Symbols where the data have them. Of one cluster alone, the genes with the highest mean.
    """
    names = data.genes
    if "symbol" in data.var:
        symbols = data.var["symbol"].astype(str).to_numpy(str)
        names = np.where(symbols == "", names, symbols)
    scores = np.empty((data.n_genes, int(clusters.max()) + 1))
    for start in range(0, data.n_genes, GENES_AT_A_TIME):
        columns = np.arange(start, min(start + GENES_AT_A_TIME, data.n_genes))
        values = log_values(data, columns)
        scores[columns] = rank_sum_scores(values, clusters) if scores.shape[1] > 1 else np.asarray(values.mean(axis=0)).reshape(-1, 1)
    order = np.argsort(-scores, axis=0, kind="stable")[:n_top]
    return [[str(name) for name in names[order[:, cluster]]] for cluster in range(scores.shape[1])]
