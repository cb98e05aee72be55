"""Search for options: planted optima, the same trials for everybody, and validation on groups that were not learnt from."""

import numpy as np
import pytest

from scrutiny.core.errors import InputError, MissingDependency, NotApplicable
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.registry import METHODS
from scrutiny.methods.annotation import search as module
from scrutiny.methods.annotation.search import search, search_by_validation, told_of_search, validation

SPACE = {"rate": (0.1, 0.01, 1.0), "depth": (2, 4, 8, 16)}


def test_the_planted_optimum_is_found_within_the_space():
    found = search(SPACE, lambda o: -abs(o["rate"] - 0.01) - abs(o["depth"] - 8), trials=200, seed=0)
    assert found.chosen == {"rate": 0.01, "depth": 8} and found.score == 0
    assert found.fitted == 12 <= found.trials <= found.budget == 200, "the whole space was tried, and no combination twice"
    assert found.score_of_defaults == pytest.approx(-6.09)


def test_the_defaults_are_tried_first_and_stay_where_nothing_is_better():
    tried = []
    found = search(SPACE, lambda o: tried.append(o) or 0.5, trials=5, seed=3)
    assert tried[0] == {"rate": 0.1, "depth": 2} == found.chosen and found.trials == 5


def test_the_seed_draws_the_trials():
    def tried(seed):
        options = []
        search(SPACE, lambda o: options.append(tuple(o.values())) or sum(o.values()), trials=8, seed=seed)
        return options

    assert tried(1) == tried(1) != tried(2)


def test_no_trial_begins_after_the_limit():
    assert search(SPACE, lambda o: 0.0, trials=10, seconds=1e-9).trials == 1


def test_nothing_is_printed_and_the_level_of_the_log_comes_back(capfd):
    import optuna

    before = optuna.logging.get_verbosity()
    search(SPACE, lambda o: 0.0, trials=2)
    assert capfd.readouterr() == ("", "") and optuna.logging.get_verbosity() == before


def test_without_optuna_the_reader_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "REQUIRES", ("no_such_package",))
    with pytest.raises(MissingDependency, match="annotation"):
        search(SPACE, lambda o: 0.0, trials=2)


def test_groups_are_held_out_whole():
    labels, groups = np.tile(["a", "b", "a", "b"], 30), np.repeat(["d1", "d2", "d3", "d4"], 30)
    folds = validation(labels, groups)
    assert len(folds) == 3
    for fold in folds:
        assert not set(groups[fold.train]) & set(groups[fold.held_out])
        assert sorted([*fold.train, *fold.held_out]) == list(range(120))


def test_without_groups_the_folds_are_stratified_and_unlabelled_cells_are_learnt_from_only():
    labels = np.array(["a"] * 50 + ["b"] * 10 + [""] * 40)
    for fold in validation(labels, None):
        assert sorted(labels[fold.held_out]) == ["a"] * 10 + ["b"] * 2
        assert (labels[fold.train] == "").sum() == 40


def test_one_cell_a_label_is_too_few():
    labels = np.array(["a", "b", "c"])
    with pytest.raises(NotApplicable, match="no options can be searched for"):
        validation(labels, None)
    told = told_of_search(SPACE, None, labels, None, trials=7)
    assert told["search"]["chosen"] == {} and told["search"]["budget"] == 7 and "no options" in told["search"]["reason"]


def test_options_are_judged_by_macro_f1_on_what_was_held_out():
    labels = np.tile(["a", "b"], 30)

    def answer(options, train, held_out):
        assert not set(train) & set(held_out)
        return labels[held_out] if options["rate"] == 1.0 else np.full(len(held_out), "a")

    found = search_by_validation(SPACE, answer, labels, None, trials=60)
    assert found.chosen["rate"] == 1.0 and found.score == 1 and found.score_of_defaults == pytest.approx(1 / 3)


def embedded(rng, n_cells=120):
    """Two far groups, and a label that 30% of the cells have wrong: many neighbours tell more than few."""
    truth = np.arange(n_cells) % 2
    vectors = rng.normal(size=(n_cells, 3)).astype(np.float32) + 8 * truth[:, None]
    told = np.where(rng.random(n_cells) < 0.3, 1 - truth, truth)
    return CellEmbedding(vectors.astype(np.float32), np.array([f"c{i}" for i in range(n_cells)])), np.array(["a", "b"])[told]


def test_a_head_searches_with_what_was_given_as_first_trial():
    cells, labels = embedded(np.random.default_rng(0))
    plain = METHODS.get("hvg_pca+knn")(k=1)
    searched = METHODS.get("hvg_pca+knn")(k=1, trials=10)
    assert not plain.card.seeded and not plain.fit(cells, labels, seed=0).told
    told = searched.fit(cells, labels, seed=0, groups=None).told["search"]
    assert told["chosen"]["k"] > 1 and told["score"] > told["score_of_defaults"] and told["budget"] == 10 and told["trials"] <= 10
    assert searched.card.seeded and {"donor", "batch"} <= searched.card.optional and "optuna" in searched.card.requires


def test_heads_without_a_space_do_not_search_and_budgets_are_not_negative():
    with pytest.raises(InputError, match="trials is -1"):
        METHODS.get("hvg_pca+knn")(trials=-1)
