"""For every check of the embedder contract, a method that breaks it and is caught; and all built-in methods pass."""

import random
from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.builtins import METHODS as DOTTED
from scrutiny.core.cards import MethodCard
from scrutiny.core.errors import ContractError, InputError, NotApplicable
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.registry import METHODS
from scrutiny.methods.linear import Depth, HvgPca
from scrutiny.testing import Outcome, check_embedder
from scrutiny.testing.embedder import EMBEDDER_CHECKS

SEEN_TOGETHER = {"check_subset": "it permutes or jitters the cells that it gets"}
EXPECTED = {
    "control/shuffle": SEEN_TOGETHER,
    "control/shuffle_within_label": SEEN_TOGETHER,
    "control/label_oracle": SEEN_TOGETHER,
    "control/batch_only": SEEN_TOGETHER,
}
NOT_HERE = {"external": "a command", "precomputed": "needs an array", "scvi": "slow", "scanvi": "slow"}
LISTED = [name for name, dotted in DOTTED.items() if name not in NOT_HERE and ".foundation." not in dotted]  # models: in their own tests
BUILT_IN = [name for name in LISTED if hasattr(METHODS.get(name), "embed") or hasattr(METHODS.get(name), "fit_embed")]


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_methods_keep_the_contract(name):
    method = METHODS.get(name)
    for module in method.card.requires:
        pytest.importorskip(module)
    check_embedder(method, expected_failures=EXPECTED.get(name))


class Honest(HvgPca):
    card = MethodCard("honest", "components", kind="baseline")


class NoCard(Honest):
    card = "pca"


class SaysTransductive(Honest):
    """Promises `fit_embed`, which it has not."""

    card = MethodCard("says_transductive", "components", transductive=True)


class ReadsLabels(Honest):
    """Reads labels without saying that it is supervised."""

    card = MethodCard("reads_labels", "components", reads=frozenset({"label"}))


class BareArray(Honest):
    def embed(self, query):
        return super().embed(query).values


class Double(Honest):
    def embed(self, query):
        found = super().embed(query)
        return CellEmbedding(found.values.astype(float), found.cell_ids)


class OtherIds(Honest):
    def embed(self, query):
        found = super().embed(query)
        return CellEmbedding(found.values[1:], found.cell_ids[1:])


class SortedByLength(Honest):
    """Rows sorted by the number of genes and ids left as they were: a published Geneformer run."""

    def embed(self, query):
        found = super().embed(query)
        order = np.argsort(-np.diff(query.values.indptr), kind="stable")
        return CellEmbedding(found.values[order], found.cell_ids)


class RowNumber(Honest):
    """The row number read as a feature: the same run."""

    def embed(self, query):
        found = super().embed(query)
        return CellEmbedding(np.column_stack([np.arange(query.n_cells), found.values]).astype(np.float32), found.cell_ids)


class BatchByBatch:
    """Rows come back batch by batch and ids in the order of the file: Scanorama as it is often wrapped."""

    card = MethodCard("batch_by_batch", "components", reads=frozenset({"batch"}), transductive=True)

    def fit_embed(self, data, *, seed):
        found = HvgPca().fit(data, seed=seed).embed(data)
        return CellEmbedding(found.values[np.argsort(data.role("batch"), kind="stable")], found.cell_ids)


class ByPosition(Honest):
    """Weights belong to columns, not to genes."""

    def fit(self, train, *, seed):
        self._weights = np.linspace(-1, 1, train.n_genes * 3).reshape(-1, 3)
        return self

    def embed(self, query):
        return CellEmbedding((query.values @ self._weights).astype(np.float32), query.cell_ids)


class Standardised(Honest):
    """Statistics of the cells that happen to come together."""

    def embed(self, query):
        found = super().embed(query)
        spread = found.values.std(axis=0) + 1e-9
        return CellEmbedding(((found.values - found.values.mean(axis=0)) / spread).astype(np.float32), found.cell_ids)


class Unseeded(Honest):
    def embed(self, query):
        found = super().embed(query)
        noise = np.random.default_rng().normal(size=found.values.shape)
        return CellEmbedding((found.values + noise).astype(np.float32), found.cell_ids)


class HiddenSeed(Honest):
    """Follows the seed, but its card does not say so."""

    def fit(self, train, *, seed):
        self._seed = seed
        return super().fit(train, seed=seed)

    def embed(self, query):
        found = super().embed(query)
        turn = np.linalg.qr(np.random.default_rng(self._seed).normal(size=(found.values.shape[1],) * 2))[0]
        return CellEmbedding((found.values @ turn).astype(np.float32), found.cell_ids)


class DrawsFromNumpy(Honest):
    def embed(self, query):
        np.random.rand()
        return super().embed(query)


class SeedsNumpy(Honest):
    def fit(self, train, *, seed):
        np.random.seed(seed)
        return super().fit(train, seed=seed)


class DrawsFromPython(Honest):
    def embed(self, query):
        random.random()
        return super().embed(query)


class SeedsTorch(Honest):
    def fit(self, train, *, seed):
        pytest.importorskip("torch").manual_seed(seed + 1)
        return super().fit(train, seed=seed)


class WritesObs(Honest):
    def embed(self, query):
        query.obs.insert(0, "total", 1)
        return super().embed(query)


class WritesMatrix(Honest):
    """Normalises the values in place."""

    def fit(self, train, *, seed):
        fitted = super().fit(train, seed=seed)
        train.matrix._values.data[:3] += 1
        return fitted


class Peeks(Honest):
    """Finds the label among the columns, should it be there."""

    def embed(self, query):
        found = super().embed(query)
        labels = query.obs["cell_type"] if "cell_type" in query.obs else np.zeros(query.n_cells)
        return CellEmbedding(np.column_stack([found.values, np.unique(labels, return_inverse=True)[1]]).astype(np.float32), found.cell_ids)


class PeeksSupervised(Peeks):
    """May read the labels of training cells, and reads those of the query."""

    card = MethodCard("peeks_supervised", "components", reads=frozenset({"label"}), supervised=True)


class ByTotal(Honest):
    """Divides by the counts of the cell."""

    def embed(self, query):
        total = np.asarray(query.values.sum(axis=1))
        with np.errstate(invalid="ignore"):
            return CellEmbedding((query.values.toarray() / total).astype(np.float32), query.cell_ids)


class HoldsLambda(Honest):
    def fit(self, train, *, seed):
        self._function = lambda x: x
        return super().fit(train, seed=seed)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (NoCard, "check_card"),
        (SaysTransductive, "check_card"),
        (ReadsLabels, "check_card"),
        (BareArray, "check_ids_and_values"),
        (Double, "check_ids_and_values"),
        (OtherIds, "check_ids_and_values"),
        (SortedByLength, "check_row_order"),
        (RowNumber, "check_row_order"),
        (BatchByBatch, "check_row_order"),
        (ByPosition, "check_gene_order"),
        (Standardised, "check_subset"),
        (RowNumber, "check_subset"),
        (Unseeded, "check_repeatable"),
        (HiddenSeed, "check_seed_is_declared"),
        (DrawsFromNumpy, "check_global_generators_untouched"),
        (SeedsNumpy, "check_global_generators_untouched"),
        (DrawsFromPython, "check_global_generators_untouched"),
        (SeedsTorch, "check_global_generators_untouched"),
        (WritesObs, "check_input_untouched"),
        (WritesMatrix, "check_input_untouched"),
        (Peeks, "check_blind_to_labels"),
        (PeeksSupervised, "check_blind_to_labels"),
        (ByTotal, "check_cells_without_counts"),
        (HoldsLambda, "check_pickle"),
    ],
)
def test_a_planted_fault_is_caught(broken, check):
    results = {r.check: r for r in check_embedder(broken, on_fail="report")}
    assert results[check].outcome is Outcome.FAILED
    assert results[check].detail
    with pytest.raises(ContractError, match=check):
        check_embedder(broken)


def test_every_check_has_a_fault_that_it_catches():
    marks = test_a_planted_fault_is_caught.pytestmark[0].args[1]
    assert {check for _, check in marks} == {check.__name__ for check in EMBEDDER_CHECKS}


def test_an_expected_failure_needs_its_reason_to_hold():
    reasons = {"check_subset": "statistics of the cells that come together", "check_row_order": "this one holds"}
    results = {r.check: r for r in check_embedder(Standardised, expected_failures=reasons, on_fail="report")}
    assert results["check_subset"].outcome is Outcome.EXPECTED_FAILURE
    assert results["check_row_order"].outcome is Outcome.UNEXPECTED_PASS
    with pytest.raises(ContractError, match="check_row_order: it was expected to fail: this one holds"):
        check_embedder(Standardised, expected_failures=reasons)
    with pytest.raises(InputError, match="no check called"):
        check_embedder(Standardised, expected_failures={"check_rows": "misspelt"})


class Vocabulary(Honest):
    card = MethodCard("vocabulary", "knows real genes only")

    def fit(self, train, *, seed):
        raise NotApplicable("0 of 60 genes are in the vocabulary")


def test_a_model_that_knows_none_of_the_made_up_genes_is_told_to_bring_data():
    results = check_embedder(Vocabulary, on_fail="report")
    assert {r.outcome for r in results if r.check != "check_card"} == {Outcome.NOT_APPLICABLE}
    with pytest.raises(ContractError, match="0 of 60 genes are in the vocabulary; give data that fit"):
        check_embedder(Vocabulary)


class Murine(Depth):
    card = replace(Depth.card, name="murine", organisms=frozenset({"mouse"}))

    def embed(self, query):
        assert query.organism == "mouse"
        return super().embed(query)


def test_the_example_is_of_the_organism_on_the_card():
    check_embedder(Murine)
