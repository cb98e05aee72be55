"""What is said of nets that were trained for a study: at what compute, what their seeds change, and which twin is whose."""

import json

import pandas as pd
import pytest
from made_tables import Made, tidy

from scrutiny.report.comparisons import comparisons
from scrutiny.report.facts import DatasetFacts
from scrutiny.report.finding import DataCase, ScoredCase
from scrutiny.report.finding_nets import nets_within_seeds, trained_here
from scrutiny.report.finding_twins import against_twin, twins
from scrutiny.report.verdict import verdict

CELLS = DatasetFacts("made", n_cells=400)
NETS = {"rank": 0.80, "bins": 0.75, "joint": 0.60}
SEEDS = {"rank": [-0.03, 0.0, 0.03], "bins": [-0.01, 0.0, 0.01], "joint": [0.0, 0.0, 0.0]}


def told(until, sizes=None):
    made = {"family": "scgpt", "sizes": sizes or {"width": 64}, "objective": "masked_bins", "until": until}
    return {"training": {**made, "corpus": {"cells": 6426, "files": ["a", "b"]}}}


def trained(**nets):
    (found,) = trained_here(DataCase(CELLS, [], {}, {}, nets))
    return found


def test_nets_of_as_many_operations_are_at_equal_compute_and_others_are_not():
    equal = trained(rank=told({"teraflops": 2.0}), bins=told({"teraflops": 2.0}))
    assert (equal.severity, equal.title) == ("note", "Trained for this study, with equal numbers of operations: rank and bins")
    assert "rank: scgpt (width 64) for masked_bins, 2 teraflops on 6,426 cells of a and b; bins:" in equal.evidence
    for other in ({"teraflops": 3.0}, {"epochs": 2.0}):
        assert trained(rank=told({"teraflops": 2.0}), bins=told(other)).severity == "caution"
    assert trained(rank=told({"epochs": 2.0}), bins=told({"epochs": 2.0})).severity == "caution", "epochs cost what the objective costs"
    assert trained(rank=told({"epochs": 2.0})).title == "Trained for this study: rank"


def test_a_study_without_nets_is_told_nothing_of_them():
    assert list(trained_here(DataCase(CELLS, [], {}, {}, {"scgpt": {"weights": {}}}))) == []


def scored():
    """Three nets of known values and spreads, named by ``called``, and a baseline."""
    names = {f"net {name}": name for name in NETS}
    table = tidy(
        Made(
            {**{method: ("model", NETS[name]) for method, name in names.items()}, "hvg_pca": ("baseline", 0.78)},
            seeds={method: SEEDS[name] for method, name in names.items()},
            noise=0.0,
        )
    )
    is_net = table["method"].isin(names)
    table["called"] = table["method"].map(names).fillna("")
    table.loc[is_net, "method_options"] = [json.dumps({"weights": name}) for name in table.loc[is_net, "method"]]
    table.loc[is_net, "method"] = "pretrained"
    (comparison,) = comparisons(table)
    return ScoredCase(comparison, verdict(comparison, CELLS), CELLS)


def test_pairs_of_nets_that_differ_by_no_more_than_their_seeds_are_listed():
    """rank is 0.05 above bins, and its seeds differ by 0.06; joint is 0.15 and 0.20 below them."""
    (found,) = nets_within_seeds(scored())
    assert found.title == "1 of 3 differences between trained nets are within the spread over seeds"
    assert "rank and bins (0.050; seeds 0.060)" in found.evidence and "joint" not in found.evidence
    assert "there are 3 of each net" in found.advice and "hvg_pca" not in found.evidence


def test_a_net_is_compared_with_the_twin_of_its_own_shape():
    wide, narrow = ({"config": {"corpus": {"files": ["a"]}, "model": {"width": width}}} for width in (64, 16))
    truth = {"pretrained": ("model", 0.6), "control/untrained_pretrained": ("control", 0.5)}
    tables = []
    for called, shape, values in (("wide", wide, (0.6, 0.5)), ("narrow", narrow, (0.45, 0.44))):
        made = Made({method: (kind, value) for (method, (kind, _)), value in zip(truth.items(), values)}, noise=0.0)
        table = tidy(made)
        own = table["method"].isin(truth)
        full = {**shape, "config": {**shape["config"], "objective": {"name": "masked_bins"}}, "weights": called}
        is_model = table["method"] == "pretrained"
        table.loc[is_model, "method_options"] = json.dumps(full)
        table.loc[own & ~is_model, "method_options"] = json.dumps({**shape, "weights": f"draft {called}"})
        table["called"] = ""
        table.loc[own, "called"] = [called if model else f"untrained {called}" for model in is_model[own]]
        tables.append(table if called == "wide" else table[own])
    (comparison,) = comparisons(pd.concat(tables, ignore_index=True))
    case = ScoredCase(comparison, verdict(comparison, CELLS), CELLS)
    assert twins(comparison) == {"wide": ["untrained wide"], "narrow": ["untrained narrow"]}
    told = {finding.title: finding.evidence for finding in against_twin(case)}
    assert set(told) == {"No better than with random weights: narrow", "Better than with random weights: wide"}
    assert "narrow 0.450 (untrained 0.440" in told["No better than with random weights: narrow"]


@pytest.mark.parametrize("options", [{"layer": 1}, {"layer": 0}])
def test_a_twin_with_other_options_counts_where_there_is_no_other(options):
    table = tidy(Made({"scgpt": ("model", 0.6), "control/untrained_scgpt": ("control", 0.5)}, noise=0.0))
    table.loc[table["method"] == "scgpt", "method_options"] = json.dumps({"layer": 1, "weights": "a"})
    table.loc[table["method"] == "control/untrained_scgpt", "method_options"] = json.dumps({**options, "weights": "b"})
    (comparison,) = comparisons(table)
    assert twins(comparison) == {"scgpt": ["control/untrained_scgpt"]}
