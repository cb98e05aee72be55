"""What is said of a published model: whose weights, what binds them, which genes it knows."""

import pytest

from scrutiny.report.facts import DatasetFacts
from scrutiny.report.finding import DataCase
from scrutiny.report.finding_models import MODEL_CHECKS

PUBLISHED = {"title": "scGPT", "key": "ab12", "origin": "the published files", "published": True, "licence": "MIT", "commercial": True}


def found(models=None, n_genes=1000, **told):
    case = DataCase(DatasetFacts("cells", n_genes=n_genes), [], {}, models or {}, {"scgpt": told})
    return {finding.code: finding for check in MODEL_CHECKS for finding in check(case)}


def test_published_free_weights_that_know_the_genes_need_no_word():
    assert found({"scgpt": {"transductive": False}}, weights=PUBLISHED, genes={"n_found": 900}) == {}


def test_weights_of_a_local_folder_are_said_to_be_unconfirmed_with_their_key():
    told = found(weights={**PUBLISHED, "published": False, "origin": "a local folder"})["SCR018"]
    assert (told.severity, told.evidence) == ("problem", "scgpt: a local folder, key ab12.")


def test_non_commercial_weights_are_shown_with_their_licence():
    told = found(weights={**PUBLISHED, "commercial": False, "licence": "non-commercial research"})["SCR019"]
    assert "non-commercial research" in told.evidence


@pytest.mark.parametrize(("n_found", "is_told"), [(499, True), (500, False)])
def test_a_model_that_knows_less_than_half_of_the_genes_is_told(n_found, is_told):
    assert ("SCR020" in found(weights=PUBLISHED, genes={"n_found": n_found})) == is_told


def test_a_model_that_embeds_all_cells_at_once_is_told():
    assert "cellplm embeds all cells at once" in found({"cellplm": {"transductive": True}})["SCR021"].title
