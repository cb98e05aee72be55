"""Hand-sized values, values by scipy and sklearn, and planted truths: the truth itself, the gene mean, one prediction for all."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score, roc_auc_score

from scrutiny.core.errors import NotApplicable
from scrutiny.core.evidence import Evidence
from scrutiny.core.outputs import FROM_CELL, Reconstruction
from scrutiny.metrics.predictions import trivial_predictions

ODDS = "log-odds of being expressed"


def dense(true, predicted, quantity="log count", **more):
    """All genes of all cells, from matrices (n_cells, n_genes)."""
    true, predicted = np.asarray(true, np.float32), np.asarray(predicted, np.float32)
    rows, columns = np.indices(true.shape).reshape(2, -1)
    ids = [np.array([f"{kind}{i}" for i in range(n)]) for kind, n in zip("cg", true.shape, strict=True)]
    hidden = np.asarray(more.pop("hidden", np.zeros(true.shape, bool))).ravel()
    return Reconstruction(*ids, rows, columns, predicted.ravel(), true.ravel(), hidden, quantity, **more)


def value(found, metric):
    return Evidence({"reconstruction": found})[metric]


TRUE = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
PREDICTED = np.array([[2.0, 2.0], [3.0, 5.0], [4.0, 6.0]])
GENE_MEAN = np.array([[4.0, 6.5], [3.0, 5.5], [2.0, 3.0]])
"""By hand: (3 + 5) / 2, (4 + 9) / 2 and so on."""
MEAN = np.array([21.0, 17.0, 10.0])[:, None] / 4
"""By hand: what is left of 24 without the cell, over 4 entries."""


# By hand ---------------------------------------------------------------------------------------------------------------------------------


def test_the_trivial_predictions_leave_the_cell_out():
    found = trivial_predictions(dense(TRUE, PREDICTED))
    np.testing.assert_allclose(found.gene_mean, GENE_MEAN.ravel())
    np.testing.assert_allclose(found.mean, np.repeat(MEAN, 2))


def test_a_hand_sized_case():
    """Squared errors 1 0 0 1 1 9, of the gene mean 9 20.25 0 2.25 9 36; within the genes, products 4 and 13, squares 8 and 26."""
    found = dense(TRUE, PREDICTED)
    assert value(found, "reconstruction_mse") == pytest.approx(12 / 6)
    assert value(found, "reconstruction_mse_gene_mean") == pytest.approx(76.5 / 6)
    assert value(found, "reconstruction_mse_mean") == pytest.approx(np.square(TRUE - MEAN).mean())
    assert value(found, "reconstruction_skill") == pytest.approx(1 - 12 / 76.5)
    assert value(found, "reconstruction_variance_explained") == pytest.approx(1 - 12 / 76.5)
    assert value(found, "reconstruction_slope") == pytest.approx((4 + 13) / (8 + 26))


def test_only_hidden_entries_count_but_the_means_are_of_all():
    """The entries (0, 1) and (2, 0) are hidden: squared errors 0 and 1, of the gene mean 20.25 and 9."""
    hidden = np.array([[False, True], [False, False], [True, False]])
    found = dense(TRUE, PREDICTED, hidden=hidden)
    assert value(found, "reconstruction_mse") == pytest.approx(1 / 2)
    assert value(found, "reconstruction_mse_gene_mean") == pytest.approx(29.25 / 2)
    assert value(found, "reconstruction_skill") == pytest.approx(1 - 1 / 29.25)


def test_a_gene_of_one_cell_has_the_overall_mean():
    found = dense(TRUE, PREDICTED)
    alone = replace(found, columns=np.array([0, 1, 0, 2, 0, 1]), gene_ids=np.array(["x", "y", "z"]))
    assert trivial_predictions(alone).gene_mean[3] == pytest.approx(17 / 4)


# By other libraries ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn():
    """30 cells of 40 genes: bins from 0 to 9, and predictions that follow them."""
    rng = np.random.default_rng(0)
    true = np.minimum(rng.poisson(rng.gamma(1.0, 2.0, 40), (30, 40)), 9).astype(np.float32)
    return true, (0.6 * true + rng.normal(size=true.shape)).astype(np.float32)


def left_out(true):
    """Means of genes over the other cells."""
    return (true.sum(axis=0) - true) / (len(true) - 1)


def test_correlations_are_those_of_scipy(drawn):
    true, predicted = drawn
    found = dense(true, predicted, "rank")
    for metric, of, other in (
        ("reconstruction_pearson", stats.pearsonr, predicted),
        ("reconstruction_spearman", stats.spearmanr, predicted),
        ("reconstruction_pearson_mean", stats.pearsonr, left_out(true)),
    ):
        assert value(found, metric) == pytest.approx(np.mean([of(a, b).statistic for a, b in zip(other, true, strict=True)]), abs=1e-6)


def test_the_skill_of_ranks_is_what_the_average_ranking_leaves(drawn):
    true, predicted = drawn
    found = dense(true, predicted, "rank")
    r, r_mean = (np.mean([stats.pearsonr(a, b).statistic for a, b in zip(x, true, strict=True)]) for x in (predicted, left_out(true)))
    assert value(found, "reconstruction_skill") == pytest.approx((r - r_mean) / (1 - r_mean), abs=1e-6)


def test_weights_are_repetitions():
    """An entry of weight 3 counts as three of them, in sums and in correlations."""
    rng = np.random.default_rng(1)
    true, predicted = np.concatenate([rng.uniform(1, 3, 5), [0.0, 0.0]]), rng.uniform(0, 3, 7)
    weight = np.array([1, 1, 1, 1, 1, 3, 4], np.float32)
    listed = dense([true, true[::-1]], [predicted, predicted[::-1]], weight=np.concatenate([weight, weight[::-1]]))
    twice = [np.repeat(x, weight.astype(int)) for x in (true, predicted)]
    assert value(listed, "reconstruction_pearson") == pytest.approx(stats.pearsonr(*twice).statistic, abs=1e-6)
    assert value(listed, "reconstruction_mse") == pytest.approx(np.square(twice[0] - twice[1]).mean(), rel=1e-6)


def test_the_variance_explained_is_r_squared_of_what_is_left_of_the_gene_mean(drawn):
    """With the gene mean taken out of both, a prediction of 0 has R2 0: sklearn's R2 once the mean of what is left is 0."""
    true, predicted = drawn
    left, said = (true - left_out(true)).ravel(), (predicted - left_out(true)).ravel()
    both = np.concatenate([left, -left]), np.concatenate([said, -said])
    assert value(dense(true, predicted), "reconstruction_variance_explained") == pytest.approx(r2_score(*both), abs=1e-5)


def test_the_area_under_the_curve_is_that_of_sklearn(drawn):
    true, predicted = drawn[0] > 2, drawn[1]
    kept = [i for i, row in enumerate(true) if 0 < row.sum() < len(row)]
    found = dense(true, predicted, ODDS)
    area, of_gene = (np.mean([roc_auc_score(true[i], x[i]) for i in kept]) for x in (predicted, left_out(true)))
    assert value(found, "expressed_auroc") == pytest.approx(area, abs=1e-9)
    assert value(found, "expressed_auroc_gene") == pytest.approx(of_gene, abs=1e-9)
    assert value(found, "reconstruction_skill") == pytest.approx((area - of_gene) / (1 - of_gene), abs=1e-9)


def test_a_sample_of_the_zeros_stands_for_all_of_them(drawn):
    """Gene means are exact, and errors are those of all entries but for the draw."""
    true = drawn[0] * (np.random.default_rng(2).random(drawn[0].shape) < 0.3)
    predicted = 0.5 * true + 0.2
    whole, n_genes = dense(true, predicted), true.shape[1]
    kept, weight = [], []
    rng = np.random.default_rng(3)
    for row in true:
        zeros, expressed = np.flatnonzero(row == 0), np.flatnonzero(row)
        some = rng.choice(zeros, len(zeros) // 2, replace=False)
        own = np.zeros(n_genes)
        own[expressed], own[some] = 1, len(zeros) / len(some)
        kept.append(own > 0)
        weight.append(own[own > 0])
    kept = np.concatenate(kept)
    names = ("rows", "columns", "predicted", "true", "hidden")
    part = replace(whole, **{name: getattr(whole, name)[kept] for name in names}, weight=np.concatenate(weight).astype(np.float32))
    np.testing.assert_allclose(trivial_predictions(part).gene_mean, left_out(true).ravel()[kept], rtol=1e-6)
    for metric in ("reconstruction_mse", "reconstruction_mse_gene_mean", "reconstruction_skill"):
        assert value(part, metric) == pytest.approx(value(whole, metric), rel=0.05)


# Planted truths --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", ["bin", "log count", "rank", ODDS])
def test_the_truth_has_skill_1_and_the_gene_mean_0(drawn, quantity):
    true = np.float32(drawn[0] > 2) if quantity == ODDS else drawn[0]
    means = left_out(true)
    odds = np.log(np.clip(means, 1e-6, 1 - 1e-6) / np.clip(1 - means, 1e-6, 1))
    whole = dense(true, 40 * (true - 0.5) if quantity == ODDS else true, quantity)
    trivial = dense(true, odds if quantity == ODDS else means, quantity)
    assert value(whole, "reconstruction_skill") == pytest.approx(1, abs=1e-6)
    assert value(whole, "reconstruction_slope") == pytest.approx(1, abs=1e-6)
    assert value(trivial, "reconstruction_skill") == pytest.approx(0, abs=1e-5)
    whatever = dense(true, np.broadcast_to(np.linspace(-1, 2, true.shape[1]), true.shape), quantity)
    assert value(whatever, "reconstruction_slope") == pytest.approx(0, abs=1e-6)


def test_one_prediction_for_all_has_no_slope_and_no_correlation(drawn):
    """It errs as much as the overall mean, so the gene mean is better."""
    found = dense(drawn[0], np.full_like(drawn[0], drawn[0].mean()))
    assert value(found, "reconstruction_slope") == pytest.approx(0, abs=1e-6)
    assert value(found, "reconstruction_skill") < -0.1
    assert value(found, "reconstruction_pearson") == 0
    assert value(found, "reconstruction_mse") == pytest.approx(value(found, "reconstruction_mse_mean"), rel=0.1)


def test_what_is_said_from_the_cell_has_its_own_numbers(drawn):
    true, predicted = drawn
    found = dense(true, predicted, "bin", also={FROM_CELL: true.ravel()})
    assert value(found, "reconstruction_skill_cell") == pytest.approx(1)
    assert value(found, "reconstruction_mse_cell") == 0 < value(found, "reconstruction_mse")
    also = Evidence({"reconstruction": found}).measure("reconstruction_skill").details["also"][FROM_CELL]
    assert also["slope"] == pytest.approx(1) and also["skill"] == pytest.approx(1)
    assert [b["predicted"] for b in also["bins"]] == pytest.approx([b["true"] for b in also["bins"]])


# The picture -----------------------------------------------------------------------------------------------------------------------------


def details(found):
    told = Evidence({"reconstruction": found}).measure("reconstruction_skill").details
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    return told


def test_a_few_values_have_a_bin_each(drawn):
    true, predicted = drawn
    told = details(dense(true, predicted, "bin"))
    bins = told["bins"]
    assert told["quantity"] == "bin" and [b["low"] for b in bins] == [b["high"] for b in bins] == sorted(np.unique(true))
    for b in bins:
        own = true == b["low"]
        assert b["n"] == own.sum()
        assert b["predicted"] == pytest.approx(predicted[own].mean(), rel=1e-5)
        assert b["gene_mean"] == pytest.approx(left_out(true)[own].mean(), rel=1e-5)
        assert (b["predicted_p10"], b["predicted_p90"]) == pytest.approx(tuple(np.quantile(predicted[own], [0.1, 0.9])), rel=1e-5)
    assert told["slope"] == value(dense(true, predicted, "bin"), "reconstruction_slope")


@pytest.mark.parametrize("share_of_zeros", [0.0, 0.6])
def test_many_values_are_cut_at_quantiles_and_common_zeros_stay_apart(share_of_zeros):
    rng = np.random.default_rng(4)
    true = rng.uniform(1, 5, (40, 30)) * (rng.random((40, 30)) >= share_of_zeros)
    found = dense(true, 0.5 * true)
    bins = details(found)["bins"]
    assert len(bins) == 20 and sum(b["n"] for b in bins) == true.size
    assert all(one["high"] < other["low"] for one, other in zip(bins, bins[1:], strict=False))
    if share_of_zeros:
        assert (bins[0]["low"], bins[0]["high"], bins[0]["n"]) == (0, 0, (true == 0).sum())
    sizes = [b["n"] for b in bins[bool(share_of_zeros) :]]
    assert max(sizes) - min(sizes) <= 2
    mse = np.average([b["mse"] for b in bins], weights=[b["n"] for b in bins])
    assert mse == pytest.approx(value(found, "reconstruction_mse"), rel=1e-6)


def test_fifty_bins_of_a_model_become_twenty():
    true = np.random.default_rng(5).integers(1, 51, (60, 40)).astype(float)
    bins = details(dense(true, true, "bin"))["bins"]
    assert len(bins) <= 20 and bins[0]["low"] == 1 and bins[-1]["high"] == 50


def test_log_odds_are_drawn_as_chances(drawn):
    true = np.float32(drawn[0] > 2)
    bins = details(dense(true, np.where(true > 0, np.log(3), -np.log(3)), ODDS))["bins"]
    assert [b["true"] for b in bins] == [0, 1] and [b["predicted"] for b in bins] == pytest.approx([0.25, 0.75])


# Parts of the cells ----------------------------------------------------------------------------------------------------------------------


def test_a_part_has_the_sums_of_its_cells_and_the_gene_means_of_all(drawn):
    true, predicted = drawn
    evidence, rows = Evidence({"reconstruction": dense(true, predicted)}), np.arange(3, 14)
    evidence.measure("reconstruction_skill")
    part = evidence.part(rows)
    errors, of_mean = np.square(predicted - true)[rows].sum(), np.square(left_out(true) - true)[rows].sum()
    assert part["reconstruction_skill"] == pytest.approx(1 - errors / of_mean, rel=1e-5)
    assert "reconstruction" not in part._known, "entries are cut only when somebody asks for them"
    cut = part["reconstruction"]
    assert cut.n_cells == 11 and np.array_equal(cut.true, true[rows].ravel())
    assert part.part(np.array([2, 0]))["reconstruction"].cell_ids.tolist() == ["c5", "c3"]


def test_parts_of_a_correlation_are_means_over_their_cells(drawn):
    true, predicted = drawn
    evidence = Evidence({"reconstruction": dense(true, predicted, "rank")})
    evidence.measure("reconstruction_pearson")
    wanted = np.mean([stats.pearsonr(predicted[i], true[i]).statistic for i in (4, 9)])
    assert evidence.part(np.array([4, 9]))["reconstruction_pearson"] == pytest.approx(wanted, abs=1e-6)


# Not applicable --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "metric", "reason"),
    [
        ("rank", "reconstruction_mse", "predicts a rank"),
        (ODDS, "reconstruction_mse_gene_mean", "log-odds"),
        (ODDS, "reconstruction_pearson", "expressed_auroc"),
        ("bin", "expressed_auroc", "predicts a bin, not log-odds"),
        ("bin", "reconstruction_skill_cell", "nothing from the vector of the cell"),
    ],
)
def test_other_quantities_are_told_so(drawn, quantity, metric, reason):
    true = np.float32(drawn[0] > 2) if quantity == ODDS else drawn[0]
    with pytest.raises(NotApplicable, match=reason):
        value(dense(true, drawn[1], quantity), metric)


def test_what_has_no_answer_says_why(drawn):
    true, predicted = drawn
    with pytest.raises(NotApplicable, match="one cell alone"):
        value(dense(true[:1], predicted[:1]), "reconstruction_skill")
    for metric, reason in (("reconstruction_slope", "no gene varies"), ("reconstruction_variance_explained", "no entry differs")):
        with pytest.raises(NotApplicable, match=reason):
            value(dense(np.ones((4, 5)), np.zeros((4, 5))), metric)
    with pytest.raises(NotApplicable, match="predicts nothing"):
        value(dense(true[:, :0], predicted[:, :0]), "reconstruction_skill")
    with pytest.raises(NotApplicable, match="at least 3 entries differ"):
        value(dense(true[:, :2], predicted[:, :2], "rank"), "reconstruction_pearson")


