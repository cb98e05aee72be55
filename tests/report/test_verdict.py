"""Verdicts on planted truth: who wins, who ties, whether a model beats the cheap methods, and in which words."""

import numpy as np
import pandas as pd
import pytest
from made_tables import Made, tidy

from scrutiny.report.facts import DatasetFacts
from scrutiny.report.sentences import overall
from scrutiny.report.verdict import MARGIN, verdicts

CHEAP = {"hvg_pca": ("baseline", 0.6), "harmony": ("baseline", 0.6)}


def one(made: Made, **facts):
    return verdicts(tidy(made), {made.dataset: DatasetFacts(made.dataset, **facts)})[0]


def test_a_planted_winner_is_found_and_the_others_are_told_from_it():
    found = one(Made({"hvg_pca": ("baseline", 0.6), "harmony": ("baseline", 0.62), "scvi": ("baseline", 0.9)}))
    assert (found.winner, found.reference, found.ties) == ("scvi", "hvg_pca", ())
    assert found.better_than_reference
    assert found.over_reference.low <= 0.3 <= found.over_reference.high
    assert "scvi scores highest" in found.sentence and "all other methods are clearly behind" in found.sentence


def test_methods_that_are_equal_tie():
    found = one(Made({"hvg_pca": ("baseline", 0.6), "harmony": ("baseline", 0.6), "depth": ("baseline", 0.2)}))
    assert {found.winner, *found.ties} == {"hvg_pca", "harmony"}
    assert not found.better_than_reference


def test_the_plain_method_as_winner_is_not_compared_with_itself():
    found = one(Made({"hvg_pca": ("baseline", 0.8), "harmony": ("baseline", 0.4)}))
    assert found.over_reference is None and found.winner == "hvg_pca"
    assert "plain PCA (hvg_pca) scores highest" in found.sentence


def test_a_skill_is_told_with_what_it_may_come_from():
    found = one(Made({"gene_mean": ("baseline", 0.0), "scgpt": ("model", 0.5)}, task="reconstruction"))
    assert "its own quantity" in found.caveat and "may be copying" in found.caveat
    assert "copying" not in one(Made(CHEAP)).caveat


def test_a_control_never_wins():
    found = one(Made(CHEAP | {"control/label_oracle": ("control", 0.99)}))
    assert found.winner in CHEAP


def test_integration_is_held_against_not_integrating():
    found = one(Made({"hvg_pca": ("baseline", 0.7), "harmony": ("baseline", 0.71)}, task="integration"))
    assert found.reference == "hvg_pca"
    assert "plain PCA without integration (hvg_pca)" in found.sentence


@pytest.mark.parametrize(("truth", "beats"), [(0.9, True), (0.61, False), (0.5, False)])
def test_a_model_beats_only_by_more_than_the_margin_and_surely(truth, beats):
    found = one(Made(CHEAP | {"uce": ("model", truth)}))
    (model,) = found.models
    assert model.beats is beats
    assert ("beats the best cheap method" in found.sentence) is True
    assert found.sentence.startswith("No evidence") is not beats


def test_a_sure_difference_below_the_margin_is_no_evidence():
    found = one(Made({"hvg_pca": ("baseline", 0.6), "uce": ("model", 0.6 + 0.75 * MARGIN)}, noise=0.01))
    (model,) = found.models
    assert model.difference.low > 0 and model.p_holm < 0.05
    assert not model.beats


def test_no_model_beats_by_chance_and_no_method_is_told_apart():
    beats, told = 0, 0
    trials = 60
    for seed in range(trials):
        truth = CHEAP | {"uce": ("model", 0.6), "scgpt": ("model", 0.6)}
        found = verdicts(tidy(Made(truth, n_cells=150, repeats=1), seed=seed), {})[0]
        beats += any(m.beats for m in found.models)
        told += len(found.ties) < 3
    assert beats / trials <= 0.05
    assert told / trials <= 0.05


def test_without_labels_it_says_what_cannot_be_concluded():
    found = one(Made(CHEAP, task="batch_mixing", label_column=None))
    assert found.key.label_column == ""
    assert "mixes most" in found.sentence and f"shuffled cells {found.noise:.2f}" in found.sentence
    assert "Only the mixing of batches is measured" in found.caveat


def test_without_replicates_nothing_is_told_apart():
    table = tidy(Made(CHEAP | {"uce": ("model", 0.99)})).assign(replicates_kept=None, replicates_held=None)
    found = verdicts(table, {})[0]
    assert not found.tested and found.interval is None and not found.models[0].beats
    assert "no replicates" in found.sentence


def test_nothing_scored_is_no_verdict_on_methods():
    table = tidy(Made(CHEAP)).assign(status="failed", value=np.nan)
    found = verdicts(table, {})[0]
    assert found.winner is None
    assert "no method gave a score" in found.sentence


def test_seeds_are_averaged_and_do_not_count_as_replicates():
    alone = one(Made(CHEAP))
    thrice = one(Made(CHEAP, seeds={"harmony": [0.0, 0.0, 0.0]}))
    assert thrice.interval == alone.interval


def test_a_planted_batch_is_named():
    assert "planted" in one(Made(CHEAP, task="integration"), planted="half of the cells thinned").caveat


def test_two_sets_of_options_are_two_methods():
    made = Made(CHEAP)
    one_, two = tidy(made), tidy(made, seed=1)
    table = pd.concat([one_.assign(method_options='{"key": "X_a"}'), two.assign(method_options='{"key": "X_b"}')])
    found = verdicts(table, {})[0]
    assert {found.winner, *found.ties} <= {f"{m} (key={k})" for m in CHEAP for k in ("X_a", "X_b")}


def test_a_ready_made_array_goes_by_its_own_name():
    options = '{"key": "X_mine", "sha": "ab12"}'
    table = tidy(Made(CHEAP | {"precomputed": ("model", 0.9)}))
    table.loc[table["method"] == "precomputed", "method_options"] = options
    assert verdicts(table, {})[0].winner == "X_mine"


def test_the_headline_names_a_single_data_set_once():
    cheap = {"hvg_pca": ("baseline", 0.6), "harmony": ("baseline", 0.8)}
    table = pd.concat([tidy(Made(cheap)), tidy(Made(cheap, task="integration"))], ignore_index=True)
    said = overall(verdicts(table, {}))
    assert said.startswith("On made: for telling apart the cell types, harmony is clearly better than plain PCA")
    assert said.count("made") == 1
    two = pd.concat([tidy(Made(cheap)), tidy(Made(cheap, dataset="other"))], ignore_index=True)
    assert "the cell types of made" in overall(verdicts(two, {}))
