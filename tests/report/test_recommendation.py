"""What is recommended, and what it rests on."""

import pandas as pd
import pytest
from made_tables import Made, tidy

from scrutiny.report.comparisons import comparisons
from scrutiny.report.facts import DatasetFacts
from scrutiny.report.recommendation import recommend
from scrutiny.report.verdict import verdict


def recommended(made: Made, seconds: dict[str, float] | None = None):
    table = tidy(made)
    for method, fit in (seconds or {}).items():
        table.loc[table["method"] == method, "seconds_fit"] = fit
    comparison = comparisons(table)[0]
    return recommend(comparison, verdict(comparison, DatasetFacts("made")))


def test_the_cheaper_of_two_that_cannot_be_told_apart():
    found = recommended(Made({"hvg_pca": ("baseline", 0.8), "scvi": ("baseline", 0.81)}), {"hvg_pca": 1, "scvi": 900})
    assert found.method == "hvg_pca"
    assert "cannot be told apart" in found.why or "no clearly cheaper" in found.why
    assert {row.method for row in found.rows} == {"hvg_pca", "scvi"}


def test_a_clear_winner_whatever_it_costs():
    found = recommended(Made({"hvg_pca": ("baseline", 0.5), "scvi": ("baseline", 0.9)}), {"hvg_pca": 1, "scvi": 900})
    assert found.method == "scvi" and "15 min" in found.why


def test_not_to_integrate_is_an_answer():
    found = recommended(Made({"hvg_pca": ("baseline", 0.8), "harmony": ("baseline", 0.5)}, task="integration"))
    assert found.method == "hvg_pca"


def test_nothing_where_the_best_is_no_better_than_noise():
    found = recommended(Made({"hvg_pca": ("baseline", 0.1), "scvi": ("baseline", 0.1)}, noise=0.1))
    assert found.method is None and "shuffled" in found.why


def test_nothing_without_labels():
    found = recommended(Made({"hvg_pca": ("baseline", 0.5)}, task="batch_mixing", label_column=None))
    assert found.method is None and "cell types survive" in found.why


@pytest.mark.parametrize(("auroc", "is_advised"), [(0.4, False), (0.8, True)])
def test_a_method_whose_doubt_is_blind_is_not_advised_for_unseen_types(auroc, is_advised):
    table = tidy(Made({"hvg_pca": ("baseline", 0.5), "scvi": ("baseline", 0.9)}))
    doubt = table.assign(metric="novelty_auroc", primary=False, value=auroc, replicates_kept=None, replicates_held=None)
    comparison = comparisons(pd.concat([table, doubt]))[0]
    found = recommend(comparison, verdict(comparison, DatasetFacts("made")))
    assert (found.method == "scvi") == is_advised and ("no skill at noticing" in found.why) != is_advised


def test_nothing_where_the_best_tells_no_more_than_shuffled_labels():
    made = Made({"hvg_pca+logreg": ("baseline", 0.26), "majority": ("baseline", 0.25), "control/shuffled_labels": ("control", 0.25)})
    table = tidy(made)
    comparison = comparisons(table[table["method"] != "control/shuffle"])[0]
    found = recommend(comparison, verdict(comparison, DatasetFacts("made")))
    assert found.method is None and "shuffled labels" in found.why
