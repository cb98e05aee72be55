"""The mean of what several methods told."""

import numpy as np
import pytest

from scrutiny.core.errors import ContractError, InputError
from scrutiny.core.labels import LabelPrediction
from scrutiny.core.registry import METHODS
from scrutiny.engine.embedding import Chosen
from scrutiny.methods.annotation.ensemble import Ensemble

IDS = np.array(["c1", "c2"])


def told(names, rows, ids=IDS):
    return LabelPrediction(ids, np.array(names), np.array(rows, np.float32))


def test_the_mean_is_over_all_labels_that_one_member_knows():
    found = Ensemble().predict_labels([told(["a", "b"], [[0.8, 0.2], [0.5, 0.5]]), told(["b", "c"], [[1, 0], [0.2, 0.8]])])
    assert found.label_names.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(found.probabilities, [[0.4, 0.6, 0], [0.25, 0.35, 0.4]], atol=1e-6)
    assert found.aligned_to(IDS).labels.tolist() == ["b", "c"]


def test_cells_must_be_the_same():
    with pytest.raises(ContractError, match="different cells"):
        Ensemble().predict_labels([told(["a"], [[1], [1]]), told(["a"], [[1], [1]], IDS[::-1])])


def test_the_card_says_what_all_members_need():
    made = Chosen("ensemble", {"members": ["majority", {"name": "hvg_pca+knn", "options": {"k": 5, "trials": 2}}]}).make()
    assert made.members == (("majority", {}), ("hvg_pca+knn", {"k": 5, "trials": 2}))
    assert made.card.kind == "baseline" and made.card.seeded and "optuna" in made.card.requires and made.card.supervised
    assert made.card.reads == {"label", "donor", "batch"} and made.card.optional == {"donor", "batch"}
    model = Ensemble("scgpt+knn, geneformer+knn")
    cards = [METHODS.get(name)().card for name in ("scgpt+knn", "geneformer+knn")]
    assert model.card.kind == "model" and model.card.organisms == cards[0].organisms & cards[1].organisms


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (["majority"], "at least two members"),
        (["majority", "hvg_pca"], r"\['hvg_pca'\] do not. Combine them with a head, e.g. 'hvg_pca\+knn'"),
        (["majority", "hvg_pca+knnn"], "no head is called 'knnn'"),
        (["majority", {"nam": "pca"}], "expected a name, or a table"),
        (["majority", {"name": "hvg_pca+knn", "options": {"kk": 1}}], "the member 'hvg_pca.knn' has no option 'kk'"),
    ],
)
def test_what_cannot_be_put_together_is_refused(members, message):
    with pytest.raises(InputError, match=message):
        Ensemble(members)
