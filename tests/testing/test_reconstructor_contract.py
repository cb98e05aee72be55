"""For every check of the contract of `reconstruct`, a method that breaks it and is caught; and all built-in baselines and controls pass."""

import random
from dataclasses import replace

import numpy as np
import pytest

from scrutiny.core.cards import MethodCard
from scrutiny.core.errors import ContractError, InputError
from scrutiny.core.registry import METHODS
from scrutiny.methods.means import GeneMean
from scrutiny.testing import Outcome, check_reconstructor, parametrize_with_checks
from scrutiny.testing.reconstructor import RECONSTRUCTOR_CHECKS


@pytest.mark.parametrize("name", ["gene_mean", "pca", "control/overall_mean", "control/another_cell"])
def test_built_in_methods_keep_the_contract(name):
    told = {"check_hidden_values_are_not_used": "a cell is told the values of another one, hidden or not"}
    check_reconstructor(METHODS.get(name), expected_failures=told if name == "control/another_cell" else None)


class Honest(GeneMean):
    card = MethodCard("honest", "means of genes", kind="baseline")


class NoCard(Honest):
    card = "means"


class SaysTransductive(Honest):
    """Promises `fit_reconstruct`, which it has not."""

    card = replace(Honest.card, transductive=True)


class Changed(Honest):
    """Something of the output replaced."""

    def reconstruct(self, query, *, hide=0.0):
        found = super().reconstruct(query, hide=hide)
        return replace(found, **self.changed(found, query, hide))


class BareArray(Honest):
    def reconstruct(self, query, *, hide=0.0):
        return super().reconstruct(query, hide=hide).predicted


class NotFinite(Changed):
    def changed(self, found, query, hide):
        return {"predicted": np.where(np.arange(len(found.rows)) == 7, np.nan, found.predicted)}


class GenesOfItsOwn(Changed):
    def changed(self, found, query, hide):
        return {"gene_ids": np.char.add("my_", found.gene_ids)}


class OtherQuantity(Changed):
    def changed(self, found, query, hide):
        return {"quantity": "counts"}


class TruthWithoutTheHidden(Changed):
    """Divides by totals that lack what is hidden."""

    def changed(self, found, query, hide):
        return {"true": found.true * np.float32(1 + hide)}


class HidesNothing(Changed):
    def changed(self, found, query, hide):
        return {"hidden": np.zeros_like(found.hidden)}


class HidesUnasked(Changed):
    def changed(self, found, query, hide):
        return {"hidden": found.hidden | (np.arange(len(found.rows)) % 5 == 0)}


class Peeks(Changed):
    """Knows a little of what it says not to have seen."""

    def changed(self, found, query, hide):
        return {"predicted": found.predicted + np.float32(0.1) * found.true}


class DrawsByRow(Changed):
    def changed(self, found, query, hide):
        return {"predicted": found.predicted + np.float32(0.1) * found.rows.astype(np.float32)}


class GenesByPosition(Honest):
    def reconstruct(self, query, *, hide=0.0):
        self._means = self._means.set_axis(query.genes)
        return super().reconstruct(query, hide=hide)


class MeansOfTheQuery(Changed):
    def changed(self, found, query, hide):
        return {"predicted": found.predicted + found.true.mean()}


class Unseeded(Changed):
    def changed(self, found, query, hide):
        return {"predicted": found.predicted + np.random.default_rng().normal(size=len(found.rows)).astype(np.float32)}


class FollowsTheSeed(Changed):
    def changed(self, found, query, hide):
        return {"predicted": found.predicted + np.float32(self._seed)}


class DrawsGlobally(Changed):
    def changed(self, found, query, hide):
        random.random()
        return {}


class ChangesItsInput(Changed):
    def changed(self, found, query, hide):
        query.obs["mine"] = 1
        return {}


class Unpicklable(Honest):
    def fit(self, train, *, seed):
        self._hook = lambda: None
        return super().fit(train, seed=seed)


BROKEN = {
    "check_card": [NoCard, SaysTransductive],
    "check_entries": [BareArray, NotFinite, GenesOfItsOwn, OtherQuantity],
    "check_true_values": [TruthWithoutTheHidden],
    "check_share_hidden": [HidesNothing, HidesUnasked],
    "check_hidden_values_are_not_used": [Peeks],
    "check_row_order": [DrawsByRow],
    "check_gene_order": [GenesByPosition],
    "check_subset": [MeansOfTheQuery],
    "check_repeatable": [Unseeded],
    "check_seed_is_declared": [FollowsTheSeed],
    "check_global_generators_untouched": [DrawsGlobally],
    "check_input_untouched": [ChangesItsInput],
    "check_pickle": [Unpicklable],
}


def test_an_honest_method_passes_all():
    assert {result.outcome for result in check_reconstructor(Honest)} == {Outcome.PASSED}


@pytest.mark.parametrize(("check", "broken"), [(check, broken) for check, listed in BROKEN.items() for broken in listed])
def test_what_is_broken_is_caught(check, broken):
    cells = example(broken)
    results = {result.check: result for result in check_reconstructor(broken, data=cells, on_fail="report")}
    assert results[check].outcome is Outcome.FAILED, results[check]
    assert results[check].detail
    with pytest.raises(ContractError, match=check):
        check_reconstructor(broken, data=cells)


def example(broken):
    """Cells of their own, since the card of a broken method may be none."""
    from scrutiny.data.synth import planted

    return planted(40, 60, label_effect=1.5)


def test_every_check_has_a_broken_method():
    assert set(BROKEN) == {check.__name__ for check in RECONSTRUCTOR_CHECKS}


def test_expected_failures_need_a_reason_that_holds():
    with pytest.raises(ContractError, match="expected to fail: it is odd"):
        check_reconstructor(Honest, expected_failures={"check_pickle": "it is odd"})
    with pytest.raises(InputError, match="no check called"):
        check_reconstructor(Honest, expected_failures={"check_everything": "why"})


@parametrize_with_checks([GeneMean, METHODS.get("pca")])
def test_methods_are_found_by_their_verbs(check):
    check()
