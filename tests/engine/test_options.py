"""Options of methods and arguments of `embed`: what is mistyped or of another kind is refused wherever it comes from."""

from typing import TYPE_CHECKING, Any, Literal

import anndata
import numpy as np
import pytest
import toys

from scrutiny.core.builtins import METHODS as METHODS_HERE
from scrutiny.core.cards import MethodCard
from scrutiny.core.errors import InputError
from scrutiny.core.options import parameters_of
from scrutiny.core.registry import METHODS, register_method
from scrutiny.data.read import from_anndata
from scrutiny.engine.embedding import Chosen
from scrutiny.engine.once import embed

if TYPE_CHECKING:
    from nowhere import Nothing


class Base(toys.Toy):
    def __init__(self, *, precision: str = "float32", size: float = 1.0, **more: Any) -> None:
        super().__init__(**more)
        self.precision, self.size = precision, size


class Family(Base):
    """Passes on what it does not know."""

    card = MethodCard("toy/family", "a toy")

    def __init__(
        self,
        *,
        normalise: bool = True,
        layer: int = 0,
        last: int | None = None,
        pooling: Literal["cls"] = "cls",
        which: str | int = 0,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.given = {"normalise": normalise, "layer": layer, "last": last, "pooling": pooling, "which": which}


class Anything(Base):
    """Really takes anything, and passes nothing on."""

    card = MethodCard("toy/anything", "a toy")

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.given = options


class Unresolved(toys.Toy):
    card = MethodCard("toy/unresolved", "a toy")

    def __init__(self, thing: "Nothing" = None, n: int = 1) -> None:
        super().__init__()
        self.given = {"thing": thing, "n": n}


@pytest.fixture(scope="module", autouse=True)
def registered():
    for method in (Family, Anything, Unresolved):
        if method.card.name not in METHODS:
            register_method(method)


def given(name="toy/family", **options):
    return Chosen(name, options).make().given


@pytest.mark.parametrize(
    ("option", "value", "taken"),
    [
        *[("normalise", value, False) for value in (False, "False", "false", "NO", "0", 0)],
        *[("normalise", value, True) for value in (True, "True", "yes", 1)],
        ("layer", -2, -2),
        ("layer", "-2", -2),
        ("last", None, None),
        ("last", 3, 3),
        ("which", "10x", "10x"),
        ("which", 7, 7),
    ],
)
def test_values_become_what_the_parameter_is_declared_to_be(option, value, taken):
    found = given(**{option: value})[option]
    assert found == taken and type(found) is type(taken)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("normalise", "nein", "normalise is 'nein'; expected true or false"),
        ("normalise", 2, "normalise is 2; expected true or false"),
        ("normalise", None, "normalise is None; expected true or false"),
        ("layer", "last", "layer is 'last'; expected a whole number"),
        ("layer", True, "layer is True; expected a whole number"),
        ("layer", 1.5, "layer is 1.5; expected a whole number"),
        ("last", "end", "last is 'end'; expected a whole number"),
        ("size", "big", "size is 'big'; expected a number"),
        ("size", [1], r"size is \[1\]; expected a number"),
    ],
)
def test_values_of_another_kind_are_refused(option, value, said):
    with pytest.raises(InputError, match=f"^{said}$"):
        given(**{option: value})


def test_a_mistyped_option_is_answered_with_those_of_the_base_classes_too():
    with pytest.raises(InputError, match=r"the method 'toy/family' has no option 'poling'; did you mean \['pooling'\]\?"):
        given(poling="cls")
    with pytest.raises(InputError, match=r"did you mean \['precision'\]"):
        given(precison="bfloat16")
    assert given("toy/anything", poling="cls") == {"poling": "cls"}


def test_declared_types_that_cannot_be_told_are_left_alone():
    assert given("toy/unresolved", n="one") == {"thing": None, "n": "one"}


def test_published_models_say_it_too():
    pytest.importorskip("torch")
    assert Chosen("scgpt", {"normalise": "False"}).make().normalise is False
    with pytest.raises(InputError, match=r"the method 'scgpt' has no option 'poling'; did you mean \['pooling'"):
        Chosen("scgpt", {"poling": "mean"}).make()
    with pytest.raises(InputError, match="layer is 'last'; expected a whole number"):
        Chosen("control/untrained_geneformer", {"layer": "last"}).make()


def test_the_types_of_all_options_can_be_told():
    pytest.importorskip("torch")
    assert not [(name, option) for name in METHODS_HERE for option, kind in parameters_of(METHODS.get(name)).items() if kind is None]


def test_cells_come_as_a_file_an_object_or_a_dataset(tmp_path):
    adata = anndata.AnnData(np.arange(40, dtype=np.float32).reshape(8, 5))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    for cells in (adata, tmp_path / "cells.h5ad", str(tmp_path / "cells.h5ad"), from_anndata(adata)):
        found = embed(cells, "toy/counting")
        np.testing.assert_array_equal(found.values, adata.X)
        assert found.cell_ids.tolist() == adata.obs_names.tolist()
    with pytest.raises(InputError, match="the cells are of type ndarray; expected a path, an AnnData object or a Dataset"):
        embed(adata.X, "toy/counting")


def test_what_embed_does_not_take_is_refused_with_where_it_goes(cells):
    with pytest.raises(InputError, match=r"embed has no argument 'checkpoint'.*options=\{\"checkpoint\": \.\.\.\}"):
        embed(cells, "toy/counting", checkpoint="somewhere")
