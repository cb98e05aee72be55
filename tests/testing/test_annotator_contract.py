"""For every check of the contract of a method that tells labels, a method that breaks it and is caught; and all built-in ones pass."""

import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scrutiny.core.cards import MethodCard
from scrutiny.core.errors import ContractError, NotApplicable
from scrutiny.core.labels import UNLABELLED, LabelPrediction
from scrutiny.core.registry import HEADS, METHODS
from scrutiny.data.prepare import log_values
from scrutiny.data.synth import planted
from scrutiny.methods.annotation.heads import NearestCells
from scrutiny.methods.annotation.reading import ReadsEmbedding
from scrutiny.testing import Outcome, check_label_predictor
from scrutiny.testing.annotator import ANNOTATOR_CHECKS

QUICK = {"mlp": {"width": 8, "steps": 500}, "forest": {"trees": 20}, "boosting": {"rounds": 10}}
ON_EMBEDDINGS = [name for name in HEADS.names() if issubclass(HEADS.get(name), ReadsEmbedding)]
BUILT_IN = {
    **{f"hvg_pca+{head}": QUICK.get(head, {}) for head in ON_EMBEDDINGS},
    "majority": {},
    "celltypist": {"top_genes": 10},
    "ensemble": {"members": ["majority", "hvg_pca+centroid"]},
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_methods_keep_the_contract(name):
    for module in METHODS.get(name)(**BUILT_IN[name]).card.requires:
        pytest.importorskip(module)
    check_label_predictor(lambda: METHODS.get(name)(**BUILT_IN[name]))


@pytest.mark.parametrize("name", ["control/shuffled_labels", "control/label_oracle"])
def test_controls_keep_it_as_far_as_it_goes(name):
    check_label_predictor(METHODS.get(name))


def test_options_may_be_searched_for_within_the_contract():
    pytest.importorskip("optuna")
    check_label_predictor(lambda: METHODS.get("hvg_pca+knn")(trials=3))


class Honest:
    """Nearest centroid of the log-normalised values, each label as likely as it is near."""

    card = MethodCard("honest", "centroids", kind="baseline", reads=frozenset({"label"}), supervised=True)

    def learnt(self, train):
        """Rows to learn from, and their labels."""
        labels = train.role("label")
        rows = np.flatnonzero(labels != UNLABELLED)
        return rows, labels[rows]

    def fit(self, train, *, seed):
        rows, labels = self.learnt(train)
        self.genes, self.names = train.genes, np.unique(labels)
        if len(self.names) < 2:
            raise NotApplicable(f"the training cells have the labels {self.names.tolist()}; at least two are needed")
        values = log_values(train, np.arange(train.n_genes)).toarray()[rows]
        self.centroids = np.stack([values[labels == name].mean(axis=0) for name in self.names])
        return self

    def columns(self, query):
        return pd.Index(query.genes).get_indexer(self.genes)

    def distances(self, query):
        values = log_values(query, self.columns(query)).toarray()
        return np.square(values[:, None] - self.centroids).sum(axis=2)

    def predict_labels(self, query):
        near = np.exp(-(self.distances(query) - self.distances(query).min(axis=1, keepdims=True)) / 10)
        return LabelPrediction(query.cell_ids, self.names, (near / near.sum(axis=1, keepdims=True)).astype(np.float32))


class SaysUnsupervised(Honest):
    card = replace(Honest.card, name="says_unsupervised", supervised=False)


class UnsortedNames(Honest):
    def predict_labels(self, query):
        told = super().predict_labels(query)
        return LabelPrediction(told.cell_ids, told.label_names[::-1], told.probabilities[:, ::-1])


class KnowsOtherNames(Honest):
    """Tells labels of its own vocabulary."""

    def predict_labels(self, query):
        names = np.array([f"type {i}" for i in range(len(self.names))])
        return LabelPrediction(query.cell_ids, names, super().predict_labels(query).probabilities)


class LearnsUnlabelled(Honest):
    """Makes a label of the cells that have none."""

    def learnt(self, train):
        labels = train.role("label")
        return np.arange(len(labels)), np.where(labels == UNLABELLED, "unlabelled", labels)


class TellsTheOnlyLabel(Honest):
    def fit(self, train, *, seed):
        try:
            return super().fit(train, seed=seed)
        except NotApplicable:
            self.names = np.array(["a"])
            self.genes, self.centroids = train.genes, np.zeros((1, train.n_genes))
            return self


class LearnsFromTheFirst(Honest):
    """Labels are learnt from the first third only; sorted by label that is one of them, and the others are guessed to be the first."""

    def learnt(self, train):
        rows, labels = super().learnt(train)
        names = np.unique(labels)
        kept = np.zeros(len(rows), bool)
        kept[: len(rows) // 3] = True
        for name in names:  # one cell of each, to know the names
            kept[np.flatnonzero(labels == name)[0]] = True
        return rows[kept], np.where(np.arange(kept.sum()) < len(rows) // 3, labels[kept], names[0])


class SortedRows(Honest):
    """Sorts the answers and not the ids."""

    def predict_labels(self, query):
        told = super().predict_labels(query)
        return LabelPrediction(told.cell_ids, told.label_names, told.probabilities[np.lexsort(told.probabilities.T)])


class ByPosition(Honest):
    def columns(self, query):
        return np.arange(query.n_genes)


class Standardised(Honest):
    """Distances less their mean over the cells that come together."""

    def distances(self, query):
        found = super().distances(query)
        return found - found.mean(axis=0)


class Unseeded(Honest):
    def predict_labels(self, query):
        told = super().predict_labels(query).probabilities + np.random.default_rng().random((query.n_cells, len(self.names)))
        return LabelPrediction(query.cell_ids, self.names, (told / told.sum(axis=1, keepdims=True)).astype(np.float32))


class SeedUndeclared(Honest):
    def fit(self, train, *, seed):
        super().fit(train, seed=seed)
        self.centroids = self.centroids + 3 * np.random.default_rng(seed).normal(size=self.centroids.shape)
        return self


class SeedsGlobally(Honest):
    def fit(self, train, *, seed):
        random.seed(seed)
        return super().fit(train, seed=seed)


class WritesIntoTheData(Honest):
    def predict_labels(self, query):
        query.obs["told"] = 1
        return super().predict_labels(query)


class LooksAtTheAnswers(Honest):
    def predict_labels(self, query):
        if not query.has("label"):
            return super().predict_labels(query)
        sure = np.eye(len(self.names), dtype=np.float32)[self.names.searchsorted(query.role("label"))]
        return LabelPrediction(query.cell_ids, self.names, sure)


class NotPicklable(Honest):
    def fit(self, train, *, seed):
        self.later = lambda: None
        return super().fit(train, seed=seed)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (SaysUnsupervised, "check_card"),
        (UnsortedNames, "check_ids_and_probabilities"),
        (KnowsOtherNames, "check_labels_are_learnt"),
        (LearnsUnlabelled, "check_unlabelled_cells"),
        (TellsTheOnlyLabel, "check_few_labels"),
        (LearnsFromTheFirst, "check_training_order"),
        (SortedRows, "check_query_order"),
        (ByPosition, "check_gene_order"),
        (Standardised, "check_subset"),
        (Unseeded, "check_repeatable"),
        (SeedUndeclared, "check_seed_is_declared"),
        (SeedsGlobally, "check_global_generators_untouched"),
        (WritesIntoTheData, "check_input_untouched"),
        (LooksAtTheAnswers, "check_blind_to_labels_of_the_query"),
        (NotPicklable, "check_pickle"),
    ],
)
def test_a_planted_fault_is_caught(broken, check):
    results = {r.check: r for r in check_label_predictor(broken, on_fail="report")}
    assert results[check].outcome is Outcome.FAILED and results[check].detail
    with pytest.raises(ContractError, match=check):
        check_label_predictor(broken)


def test_every_check_has_a_fault_that_it_catches_and_the_honest_one_has_none():
    marks = test_a_planted_fault_is_caught.pytestmark[0].args[1]
    assert {check for _, check in marks} == {check.__name__ for check in ANNOTATOR_CHECKS}
    assert {r.outcome for r in check_label_predictor(Honest)} == {Outcome.PASSED}


def test_a_head_that_lacks_a_label_for_one_cell_is_caught_on_the_embedding_too():
    class Unnormalised(NearestCells):
        card = replace(NearestCells.card, name="unnormalised")

        def probabilities(self, vectors):
            return super().probabilities(vectors) / 2

    combined = Unnormalised.on("hvg_pca+unnormalised", METHODS.get("hvg_pca"))
    results = {r.check: r for r in check_label_predictor(combined, data=planted(60, 40), on_fail="report")}
    assert "have no probabilities" in results["check_ids_and_probabilities"].detail
