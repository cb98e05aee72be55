"""Names of the form METHOD+HEAD."""

import pytest

from scrutiny.core.errors import InputError
from scrutiny.core.registry import HEADS, METHODS
from scrutiny.engine.embedding import Chosen


def test_a_combination_is_one_class_with_the_card_of_both():
    combined = METHODS.get("hvg_pca+knn")
    assert combined is METHODS.get("hvg_pca+knn") and "hvg_pca+knn" in METHODS
    card = combined.card
    assert card.name == "hvg_pca+knn" and card.kind == "baseline" and card.supervised and "label" in card.reads
    assert set(METHODS.get("hvg_pca").card.requires) <= set(card.requires)


def test_the_twin_of_a_combination_is_the_combination_of_the_twin():
    assert METHODS.get("control/untrained_scgpt+knn").card.twin_of == "scgpt+knn"


def test_options_go_to_the_part_that_has_them():
    made = Chosen("hvg_pca+knn", {"k": "7", "n_dims": 20}).make()
    assert made.embedder_options == {"n_dims": 20} and made.embedder == "hvg_pca"
    with pytest.raises(InputError, match=r"'hvg_pca\+knn' has no option 'kk'; did you mean \['k'"):
        Chosen("hvg_pca+knn", {"kk": 7}).make()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hvg_pca+knnn", r"no head is called 'knnn'; did you mean \['knn'"),
        ("hvg_pcs+knn", r"no method is called 'hvg_pcs'; did you mean \['hvg_pca'"),
        ("hvg_pca+", "no head is called .*knn"),
    ],
)
def test_misspelt_parts_are_answered_with_near_matches(name, message):
    assert name not in METHODS
    with pytest.raises(InputError, match=message):
        METHODS.get(name)


def test_head_and_method_have_no_option_of_one_name():
    """Nobody could tell whose it is. Heads go with methods that embed, ways to adapt with nets."""
    for head in HEADS.names():
        for method in METHODS.names():
            try:
                combined = METHODS.get(f"{method}+{head}")
            except InputError as error:
                assert "no embedding" in str(error) or "none; take a head" in str(error)
                assert METHODS.get(method).card.model is None
            else:
                assert isinstance(combined.option_types(), dict)
