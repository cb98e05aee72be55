"""Clusterings, k-means, isolated labels, AvgBIO and probes against independent packages on real cells.

Source of every number: `parity/metrics/values.json` of the shared reference material (igraph, leidenalg through scib, scib-metrics,
louvain, scikit-learn), with the tolerance stated there. Where clusterings are stored, ours are scored too, so that the score
(exact) and the clustering (within the spread of seeds) are told apart.
"""

from functools import cache

import numpy as np
import pytest
from parity import DATASETS, EMBEDDINGS, arrays, evidence_of, stored_rows
from sklearn.cluster import KMeans

from scrutiny.core.evidence import Evidence
from scrutiny.metrics.agreement import adjusted_rand_index, contingency, normalized_mutual_information
from scrutiny.metrics.categories import categories
from scrutiny.metrics.clustering import LOUVAIN_RESOLUTIONS, ClusterSweep, sweep
from scrutiny.metrics.communities import louvain_partition
from scrutiny.metrics.probes import macro_f1


@pytest.fixture(scope="module")
def clusters(folder):
    stored = {}
    for dataset in DATASETS:
        with np.load(folder / f"{dataset}_clusters.npz") as found:
            stored[dataset] = {name: found[name] for name in found.files}
    return stored


def agreements(case, found):
    table = contingency(categories(case.evidence["labels"]), found)
    return normalized_mutual_information(table), adjusted_rand_index(table)


def from_stored(case, name, stored):
    """Evidence in which a stored sweep takes the place of ours."""
    resolutions = stored[f"resolutions_{'leiden' if name.startswith('leiden') else 'louvain'}"]
    given = ClusterSweep(resolutions, stored[f"{name}_{case.embedding}"], "stored")
    return Evidence({**case.evidence.given, "leiden": given, "louvain": given})


def close(case, recipe, value, tolerance=None):
    row = case.stored(recipe)
    return abs(value - row["value"]) <= (row["tol_abs"] if tolerance is None else tolerance), (recipe, value, row)


def check(results):
    wrong = [facts for fine, facts in results if not fine]
    assert not wrong, wrong


def test_nmi_and_ari_of_every_stored_clustering_agree(folder, clusters):
    rows = [r for r in stored_rows(folder) if r["recipe"] in ("sk_nmi_stored_leiden", "sk_ari_stored_leiden")]
    assert len(rows) == 360
    for row in rows:
        stored = clusters[row["dataset"]]
        at = np.flatnonzero(np.isclose(stored["resolutions_leiden"], row["resolution"]))[0]
        table = contingency(categories(arrays(folder, row["dataset"])["label"]), stored[f"leiden_igraph_{row['embedding']}"][at])
        score = normalized_mutual_information if "nmi" in row["recipe"] else adjusted_rand_index
        assert score(table) == pytest.approx(row["value"], abs=row["tol_abs"])


@pytest.mark.parametrize(
    ("name", "prefix", "metric"),
    [
        ("leiden_igraph", "ig_leiden", "leiden"),
        ("leiden_scib", "scib_leiden", "leiden"),
        ("multilevel", "ig_multilevel", "louvain"),
        ("louvain", "louvain", "louvain"),
    ],
)
def test_the_sweeps_of_other_engines_score_the_same(case, clusters, name, prefix, metric):
    e = from_stored(case, name, clusters[case.dataset])
    check([close(case, f"{prefix}_opt_{score}", e[f"{score}_{metric}"], 1e-9) for score in ("nmi", "ari")])
    assert e.measure(f"nmi_{metric}").details["resolution"] == pytest.approx(case.stored(f"{prefix}_opt_nmi")["best_resolution"][0])
    if metric == "louvain":
        check([close(case, "avgbio_louvain" if name == "louvain" else "avgbio_multilevel", e["avg_bio"], 1e-6)])


def test_isolated_f1_of_stored_clusterings_agrees(case, clusters):
    measured = from_stored(case, "leiden_scib", clusters[case.dataset]).measure("isolated_f1")
    row = case.stored("scib_isolated_f1")
    assert measured.value == pytest.approx(row["value"], abs=1e-9)
    assert measured.details["per_label"] == pytest.approx(row["isolated"], abs=1e-6)


def test_our_leiden_is_within_the_spread_of_three_engines(case):
    e = case.evidence
    check([close(case, recipe.format(score), e[f"{score}_leiden"]) for recipe in LEIDEN for score in ("nmi", "ari")])
    check([close(case, "scib_isolated_f1", e["isolated_f1"])])


LEIDEN = ("ig_leiden_opt_{}", "scib_leiden_opt_{}", "sm_leiden_{}")


def test_our_louvain_is_within_the_spread_of_the_louvain_package(case):
    e = case.evidence
    check([close(case, f"louvain_opt_{score}", e[f"{score}_louvain"]) for score in ("nmi", "ari")])
    check([close(case, "avgbio_louvain", e["avg_bio"])])


@pytest.fixture
def weighted_louvain(case, folder):
    return weighted_louvain_of(folder, case.dataset, case.embedding)


@cache
def weighted_louvain_of(folder, dataset, embedding):
    return sweep(louvain_partition, evidence_of(folder, dataset, embedding)["connectivities"], LOUVAIN_RESOLUTIONS, "with weights")


SINGLE_RUNS_DIFFER = {("pbmc_3chem_symphony", "harmony"), ("pbmc_multistudy_3000", "harmony"), ("pbmc_multistudy_3000", "scvi")}
"""Here the best of our five starts is another clustering than igraph's single runs (of three or five seeds) find: NMI up to 0.034, ARI
up to 0.071 apart. Ours has the higher modularity, see the next test. No metric of ours is Louvain with weights."""


def test_our_louvain_with_weights_is_within_the_spread_of_igraph(case, weighted_louvain):
    if (case.dataset, case.embedding) in SINGLE_RUNS_DIFFER:
        pytest.skip("igraph's single runs find other clusters, of lower modularity")
    e = Evidence({**case.evidence.given, "louvain": weighted_louvain, "asw_label": case.evidence["asw_label"]})
    check([close(case, f"ig_multilevel_opt_{score}", e[f"{score}_louvain"]) for score in ("nmi", "ari")])
    check([close(case, "avgbio_multilevel", e["avg_bio"])])


def test_our_partitions_are_at_least_as_good_as_those_of_other_engines(case, clusters, weighted_louvain):
    """The quality that all of them maximise, without looking at labels: mean over resolutions, within 0.001."""
    graph = case.evidence["connectivities"]
    unweighted = graph.astype(bool).astype(float)
    for name, ours, on in (
        ("leiden_igraph", case.evidence["leiden"], graph),
        ("leiden_scib", case.evidence["leiden"], graph),
        ("multilevel", weighted_louvain, graph),
        ("louvain", case.evidence["louvain"], unweighted),
    ):
        theirs = clusters[case.dataset][f"{name}_{case.embedding}"]
        gains = [modularity(on, a, r) - modularity(on, b, r) for a, b, r in zip(ours.assignments, theirs, ours.resolutions, strict=True)]
        assert np.mean(gains) > (0 if (case.dataset, case.embedding) in SINGLE_RUNS_DIFFER and name == "multilevel" else -1e-3), name


def modularity(graph, clusters, resolution):
    edges = graph.tocoo()
    inside = edges.data[clusters[edges.row] == clusters[edges.col]].sum(dtype=float)
    strength = np.bincount(clusters.astype(int), np.asarray(graph.sum(axis=1, dtype=float)).ravel())
    total = strength.sum()
    return inside / total - resolution * np.square(strength / total).sum()


POOR_OPTIMUM = ("sc_mixology", "scvi")
"""The one start of scib-metrics ends in an optimum of higher inertia, so its value is not ours (nor scikit-learn's)."""


def test_k_means_agrees(case, clusters):
    stored = clusters[case.dataset]
    for recipe, name in (("sk_kmeans10", "kmeans_sklearn"), ("sm_kmeans", "kmeans_scibmetrics")):
        if case.stored(f"{recipe}_nmi") is None:
            assert (case.embedding, recipe) == ("hvg", "sm_kmeans"), "only scib-metrics on the large matrix is left out"
            continue
        values = agreements(case, stored[f"{name}_{case.embedding}"])
        check([close(case, f"{recipe}_{score}", value, 1e-9) for score, value in zip(("nmi", "ari"), values)])
        if not (recipe == "sm_kmeans" and (case.dataset, case.embedding) == POOR_OPTIMUM):
            check([close(case, f"{recipe}_{score}", case.evidence[f"{score}_kmeans"]) for score in ("nmi", "ari")])


def test_ten_starts_of_k_means_find_the_better_optimum(folder, clusters):
    e = evidence_of(folder, *POOR_OPTIMUM)
    theirs = clusters[POOR_OPTIMUM[0]][f"kmeans_scibmetrics_{POOR_OPTIMUM[1]}"]
    assert inertia(e["embedding"], e["kmeans"]) < 0.95 * inertia(e["embedding"], theirs)


def inertia(embedding, assigned):
    centres = np.array([embedding[assigned == c].mean(axis=0) for c in np.unique(assigned)])
    return -KMeans(len(centres), init=centres, n_init=1, max_iter=1).fit(embedding).score(embedding)


PROBES = {"knn": "knn_predictions", "logreg": "logreg_predictions"}
STOPPED_EARLY = 0.015
"""The stored regressions stop at scikit-learn's usual tolerance. On the 1,764 genes of pbmc_3chem_symphony it is at a loss of 0.00572 with
0.943 of the cells of the first fold right; run to the end it has 0.00526, ours 0.00527, and either is right on 0.933."""


@pytest.mark.parametrize("probe", PROBES)
def test_probes_agree_on_stored_folds(case, folder, probe):
    """With the fixture's folds: accuracy and macro F1 as means over folds, macro F1 pooled as ours is."""
    labels = case.evidence["labels"]
    rows = {score: case.stored(f"probe_{probe}_{score}") for score in ("accuracy", "macro_f1", "macro_f1_pooled")}
    for seed in range(len(rows["accuracy"]["seeds"])):
        folds = arrays(folder, case.dataset)["folds"][seed]
        e = Evidence({"embedding": case.evidence["embedding"], "labels": labels, "probe_folds": folds})
        guesses = e[PROBES[probe]]
        parts = [(labels[folds == fold], guesses[folds == fold]) for fold in range(5)]
        found = {
            "accuracy": np.mean([np.mean(truth == guess) for truth, guess in parts]),
            "macro_f1": np.mean([macro_f1(truth, guess, of=np.union1d(truth, guess)) for truth, guess in parts]),
            "macro_f1_pooled": e[f"probe_{probe}_macro_f1"],
        }
        for score, row in rows.items():
            tolerance = max(row["tol_abs"], STOPPED_EARLY) if probe == "logreg" else row["tol_abs"]
            assert found[score] == pytest.approx(row["seeds"][seed], abs=tolerance), (probe, score, seed)


def test_folds_are_those_of_the_fixture(folder):
    for dataset in DATASETS:
        stored = arrays(folder, dataset)
        np.testing.assert_array_equal(Evidence({"labels": stored["label"]})["probe_folds"], stored["folds"][0])


@pytest.mark.parametrize(
    "metric", ["nmi_leiden", "ari_leiden", "nmi_louvain", "nmi_kmeans", "avg_bio", "scib_bio", "probe_logreg_macro_f1"]
)
def test_controls_bound_the_scores(folder, metric):
    for dataset in DATASETS[:2]:
        values = {e: evidence_of(folder, dataset, e)[metric] for e in EMBEDDINGS}
        assert min(values, key=values.get) == "shuffled"
        assert values["onehot"] == max(values.values())


def test_noise_wins_the_batch_score_and_not_the_total(folder):
    """The reason why batch metrics are never read alone."""
    for dataset in DATASETS[:2]:
        values = {e: evidence_of(folder, dataset, e) for e in ("pca", "harmony", "shuffled")}
        assert max(values, key=lambda e: values[e]["scib_batch"]) == "shuffled"
        assert max(values, key=lambda e: values[e]["scib_total"]) == "harmony"
