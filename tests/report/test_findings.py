"""Every finding fires on a planted case and stays silent on a clean one."""

import numpy as np
import pandas as pd
import pytest
from made_tables import Made, row, tidy

from scrutiny.data.catalog import Exposure
from scrutiny.report.comparisons import comparisons
from scrutiny.report.facts import Confounding, DatasetFacts
from scrutiny.report.finding import DataCase, Finding, ScoredCase
from scrutiny.report.findings import find
from scrutiny.report.provenance import exposures
from scrutiny.report.verdict import verdict

CHEAP = {"hvg_pca": ("baseline", 0.9), "harmony": ("baseline", 0.8)}
CLEAN = DatasetFacts(
    "made",
    n_cells=400,
    label_origin="genotype",
    catalog="made",
    label_counts={"cell_type": {"A": 200, "B": 200}},
    batch_counts={"b1": 200, "b2": 200},
    confounding={"cell_type": Confounding(cramers_v=0.05, n_labels=2)},
)


def findings(table: pd.DataFrame, facts: DatasetFacts = CLEAN, **exposed: Exposure) -> list[Finding]:
    found = comparisons(table)
    scored = [ScoredCase(c, verdict(c, facts), facts) for c in found]
    return find(scored, [DataCase(facts, found, exposed)])


def codes(*arguments, **more) -> set[str]:
    return {f.code for f in findings(*arguments, **more)}


def metric_rows(made: Made, metric: str, values: dict[str, float], **more) -> list[dict]:
    return [
        row(made, method=m, metric=metric, value=v, kind="control" if m.startswith("control/") else "baseline", **more)
        for m, v in values.items()
    ]


def test_a_clean_study_has_no_findings():
    assert codes(tidy(Made(CHEAP))) == set()


def test_scr001_an_embedding_at_the_level_of_shuffled_cells():
    found = findings(tidy(Made(CHEAP | {"broken": ("baseline", 0.1)})))
    (alarm,) = [f for f in found if f.code == "SCR001"]
    assert alarm.severity == "problem" and alarm.title.startswith("broken") and "shuffled 0." in alarm.evidence


def test_scr001_on_the_published_row_of_a_misaligned_embedding():
    """Geneformer on dkd in OpenProblems (rows not aligned with the cells) alarms; UCE on the same data does not."""
    made = Made({}, dataset="dkd", task="integration")
    published = {
        "NMI": (0.0315, 0.7228, 0.0013, 1.0),
        "ARI": (0.0024, 0.5080, -0.0001, 1.0),
        "ASW_label": (0.3640, 0.5870, 0.4945, 0.9897),
        "cLISI": (0.7461, 0.9990, 0.7301, 1.0),
    }
    names = ("Geneformer", "UCE", "control/shuffle", "control/label_oracle")
    rows = [r for metric, values in published.items() for r in metric_rows(made, metric, dict(zip(names, values)), primary=metric == "NMI")]
    alarms = [f.title for f in findings(pd.DataFrame(rows)) if f.code == "SCR001"]
    assert len(alarms) == 1 and alarms[0].startswith("Geneformer")


def test_scr001_models_that_were_run_here_are_told_together_and_not_called_misaligned():
    values = {f"{c}{m}": ("control" if c else "model", 0.05) for m in ("one", "two") for c in ("", "control/untrained_")}
    (alarm,) = [f for f in findings(tidy(Made(CHEAP | values))) if f.code == "SCR001"]
    assert alarm.title == "No better than shuffled cells: one and two"
    assert "misaligned" not in alarm.title + alarm.advice


@pytest.mark.parametrize(
    ("model", "severity", "title"),
    [
        (0.61, "problem", "No better than with random weights: one"),
        (0.64, "caution", "Better than with random weights, perhaps by chance: one"),
        (0.75, "note", "Better than with random weights: one"),
    ],
)
def test_scr022_how_a_model_stands_to_its_untrained_twin(model, severity, title):
    """The margin is 0.02: 0.61 against 0.60 is not above it; with this noise the interval of 0.04 holds 0, that of 0.15 does not."""
    made = Made(CHEAP | {"one": ("model", model), "control/untrained_one": ("control", 0.60)})
    (told,) = [f for f in findings(tidy(made)) if f.code == "SCR022"]
    assert (told.severity, told.title) == (severity, title)


def test_scr022_without_replicates_a_difference_may_be_chance():
    made = Made(CHEAP | {"one": ("model", 0.64), "control/untrained_one": ("control", 0.60)})
    table = tidy(made)
    table.loc[table["method"] == "control/untrained_one", ["replicates_kept", "replicates_held"]] = None
    (told,) = [f for f in findings(table) if f.code == "SCR022"]
    assert told.title == "Better than with random weights, perhaps by chance: one"


def test_scr002_below_a_random_projection():
    found = [f for f in findings(tidy(Made(CHEAP | {"weak": ("baseline", 0.4)}))) if f.code == "SCR002"]
    assert [f.title for f in found] == ["Below control/random_projection: weak"]


def test_scr002_says_nothing_of_integration_where_noise_mixes_well():
    assert "SCR002" not in codes(tidy(Made(CHEAP | {"weak": ("baseline", 0.4)}, task="integration")))


@pytest.mark.parametrize(
    ("answer", "title"),
    [("seen", "Seen in pretraining by uce"), ("not listed", "Not listed in the"), ("unknown", "Whether uce saw these cells in")],
)
def test_scr003_has_three_answers(answer, title):
    (found,) = findings(tidy(Made(CHEAP)), uce=Exposure(answer, "Somebody says so."))
    assert found.code == "SCR003" and found.title.startswith(title) and found.evidence == "Somebody says so."


@pytest.mark.parametrize(
    ("trained_on", "catalog_name", "answer"),
    [
        (["made"], "made", "seen"),
        (["other"], "made", "not listed"),
        (["other"], "", "unknown"),
        (None, "made", "unknown"),
    ],
)
def test_exposure_from_the_models_own_list(trained_on, catalog_name, answer):
    found = exposures({"uce": {"trained_on": trained_on}, "hvg": {"trained_on": []}}, DatasetFacts("made", catalog=catalog_name))
    assert {model: e.answer for model, e in found.items()} == {"uce": answer}


def test_scr003_says_how_many_cells_were_seen():
    told = "3 of 10 cells have the counts of a cell of the training corpus."
    (found,) = findings(tidy(Made(CHEAP)), mini=Exposure("seen", told, 3, 10))
    assert found.severity == "problem" and found.evidence == f"mini: {told}"


def test_exposure_from_the_cells_of_its_corpus_comes_first():
    """The card lists the data set; the model's manifest says that none of these cells is in it."""
    compared = {"answer": "not listed", "source": "None of them.", "n_seen": 0, "n_cells": 10}
    models = {"mini": {"trained_on": ["made"]}, "uce": {"trained_on": ["made"]}}
    found = exposures(models, DatasetFacts("made", catalog="made"), {"mini": {"exposure": compared}, "uce": {}})
    assert found["mini"] == Exposure("not listed", "None of them.", 0, 10) and found["uce"].answer == "seen"


def test_exposure_from_the_catalogue():
    found = exposures({"geneformer_v1": {"trained_on": None}}, DatasetFacts("made", catalog="pancreas"))
    assert found["geneformer_v1"].answer == "seen" and "GSE84133" in found["geneformer_v1"].source


def test_scr004_a_lead_within_the_seed_spread():
    wide = Made({"hvg_pca": ("baseline", 0.80), "scvi": ("baseline", 0.84)}, seeds={"scvi": [-0.1, 0.0, 0.1]})
    steady = Made({"hvg_pca": ("baseline", 0.60), "scvi": ("baseline", 0.84)}, seeds={"scvi": [-0.01, 0.0, 0.01]})
    assert "SCR004" in codes(tidy(wide))
    assert "SCR004" not in codes(tidy(steady))


def test_scr004_draws_of_labelled_cells_are_compared_one_by_one():
    """Both methods rise and fall by 0.2 with the draw: alike, the lead of 0.05 stays; against each other, it does not."""
    alike = {"hvg_pca": [-0.1, 0.0, 0.1], "scvi": [-0.1, 0.0, 0.1]}
    opposed = {"hvg_pca": [-0.1, 0.0, 0.1], "scvi": [0.1, 0.0, -0.1]}
    truth = {"hvg_pca": ("baseline", 0.70), "scvi": ("baseline", 0.75)}
    assert "SCR004" not in codes(tidy(Made(truth, seeds=alike, task="annotation_few_5")))
    assert "SCR004" in codes(tidy(Made(truth, seeds=alike, task="label_transfer"))), "seeds of methods are not paired"
    found = [f for f in findings(tidy(Made(truth, seeds=opposed, task="annotation_few_5"))) if f.code == "SCR004"]
    assert len(found) == 1 and "Another draw of labelled cells reverses the lead of scvi over hvg_pca" in found[0].title


@pytest.mark.parametrize(
    ("confounding", "title"),
    [
        (Confounding(cramers_v=0.9, n_labels=4), "Batch and label are confounded"),
        (Confounding(labels_in_one_batch=("CD34+",), n_labels=8), "Batch and label are confounded"),
        (Confounding(technical_twins=("channel",)), "Each cell type is one channel"),
    ],
)
def test_scr005_confounded(confounding, title):
    facts = DatasetFacts(**{**vars(CLEAN), "confounding": {"cell_type": confounding}})
    (found,) = [f for f in findings(tidy(Made(CHEAP)), facts) if f.code == "SCR005"]
    assert found.title.startswith(title)


def test_scr005_sorted_labels_in_one_batch_may_be_channels():
    facts = DatasetFacts(**{**vars(CLEAN), "label_origin": "sorted", "batch_counts": {"all": 400}, "confounding": {}})
    (found,) = [f for f in findings(tidy(Made(CHEAP)), facts) if f.code == "SCR005"]
    assert "may be technical" in found.title and found.severity == "problem"


@pytest.mark.parametrize(
    ("origin", "word"), [("clustered", "clustering"), ("transferred", "reference"), ("expert", "experts"), ("unknown", "unknown")]
)
def test_scr006_label_origin(origin, word):
    facts = DatasetFacts(**{**vars(CLEAN), "label_origin": origin})
    (found,) = [f for f in findings(tidy(Made(CHEAP)), facts) if f.code == "SCR006"]
    assert word in found.title


def test_scr007_failed_and_not_applicable_with_reasons():
    lost = [
        {"method": "scvi", "metric": "", "primary": False, "status": "failed", "value": np.nan, "reason": "out of memory"},
        {"method": "harmony", "metric": "kbet", "status": "not_applicable", "value": np.nan, "reason": "one batch only"},
    ]
    found = [f for f in findings(tidy(Made(CHEAP, extra=lost))) if f.code == "SCR007"]
    assert [(f.severity, f.title) for f in found] == [("caution", "Failed: scvi"), ("note", "Not applicable: kbet")]
    assert "out of memory" in found[0].evidence and "one batch only" in found[1].evidence


def test_scr008_a_sample_of_the_cells():
    facts = DatasetFacts(**{**vars(CLEAN), "cells_before_sampling": 90_000})
    (found,) = findings(tidy(Made(CHEAP)), facts)
    assert found.code == "SCR008" and "400 of 90,000" in found.evidence


def test_scr009_label_tuned_scores():
    tuned = metric_rows(Made({}), "nmi_leiden", {"hvg_pca": 0.9, "control/shuffle": 0.1, "control/label_oracle": 1.0}, label_tuned=True)
    (found,) = findings(tidy(Made(CHEAP, extra=tuned)))
    assert found.code == "SCR009" and "nmi_leiden" in found.evidence


def test_scr010_noise_beats_every_method_on_a_batch_metric():
    noise = metric_rows(Made({}), "ilisi", {"hvg_pca": 0.2, "harmony": 0.5, "control/shuffle": 0.9}, family="batches")
    fair = metric_rows(Made({}), "ilisi", {"hvg_pca": 0.2, "harmony": 0.5, "control/shuffle": 0.4}, family="batches")
    (found,) = findings(tidy(Made(CHEAP, extra=noise)))
    assert found.code == "SCR010" and "shuffled 0.90, best method 0.50" in found.evidence
    assert codes(tidy(Made(CHEAP, extra=fair))) == set()


def test_scr011_tiny_labels():
    facts = DatasetFacts(**{**vars(CLEAN), "label_counts": {"cell_type": {"A": 397, "HSC": 3}}})
    (found,) = findings(tidy(Made(CHEAP)), facts)
    assert found.code == "SCR011" and "HSC (3)" in found.evidence


def test_labels_that_only_deal_cells_evenly_are_no_finding():
    """SCR006 and SCR011 are about scores against labels; where expression is predicted there are none."""
    facts = DatasetFacts(**{**vars(CLEAN), "label_origin": "clustered", "label_counts": {"cell_type": {"HSC": 3}}})
    assert {"SCR006", "SCR011"} <= set(codes(tidy(Made(CHEAP)), facts))
    assert not {"SCR006", "SCR011", "SCR013"} & set(codes(tidy(Made(CHEAP, task="reconstruction")), facts))


def test_scr012_planted():
    (found,) = findings(tidy(Made(CHEAP)), DatasetFacts(**{**vars(CLEAN), "planted": "half of the cells thinned"}))
    assert found.code == "SCR012"


def test_scr013_no_labels():
    assert "SCR013" in codes(tidy(Made(CHEAP, task="batch_mixing", label_column=None)))


def test_scr014_one_batch():
    (found,) = findings(tidy(Made(CHEAP)), DatasetFacts(**{**vars(CLEAN), "batch_counts": {}}))
    assert found.code == "SCR014"


def test_scr016_labels_transferred_within_one_batch():
    within = Made(CHEAP, task="label_transfer")
    assert "SCR016" in codes(tidy(within), DatasetFacts(**{**vars(CLEAN), "batch_counts": {"b1": 400}}))
    assert codes(tidy(within)) == set()


def test_scr015_no_interval():
    assert codes(tidy(Made(CHEAP)).assign(replicates_kept=None, replicates_held=None)) == {"SCR015"}


def test_nothing_known_of_the_data_is_said_not_assumed():
    found = {f.code: f.title for f in findings(tidy(Made(CHEAP)), DatasetFacts("made"), uce=Exposure("unknown"))}
    assert "unknown" in found["SCR003"] and "unknown" in found["SCR006"]


def test_the_same_finding_in_two_places_is_told_once():
    table = pd.concat([tidy(Made(CHEAP | {"x": ("baseline", 0.1)}, task=task)) for task in ("cell_types", "label_transfer")])
    facts = DatasetFacts(**{**vars(CLEAN), "planted": "all"})
    (found,) = [f for f in findings(table, facts) if f.code == "SCR012"]
    assert found.where == ("made",)
    assert [f.severity for f in findings(table, facts)] == sorted(
        [f.severity for f in findings(table, facts)], key=["problem", "caution", "note"].index
    )
