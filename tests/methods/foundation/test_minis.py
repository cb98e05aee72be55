"""The small trained models that come with the package."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest

from scrutiny.core.registry import METHODS
from scrutiny.data.corpus import read_manifest
from scrutiny.data.demo import demo
from scrutiny.methods.foundation.minis import CORPUS, FOLDER
from scrutiny.nets.weights import read_tensors
from scrutiny.testing import check_embedder
from scrutiny.tuning.config import read_pretraining
from scrutiny.tuning.curves import read_log

NAMES = ("rank", "bins", "joint")


@pytest.fixture(scope="module")
def cells():
    """120 blood cells that none of them was trained on."""
    return demo()[1].take(np.arange(0, 600, 5))


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


def test_the_weights_are_half_precision_and_small(name):
    (file,) = (FOLDER / name).glob("*.safetensors")
    assert file.stat().st_size < 6_000_000
    assert {str(tensor.dtype) for tensor in read_tensors(file).values()} == {"torch.float16"}


def test_the_card_says_what_it_was_trained_on(name):
    card, manifest = METHODS.get(f"scrutiny/mini-{name}").card, read_manifest(FOLDER / name)
    assert card.trained_on == CORPUS == frozenset(manifest["files"])
    assert f"{manifest['cells']['train']:,} cells" in card.summary and "demonstration" in card.summary


def test_the_config_beside_the_weights_is_that_of_their_record(name):
    config = read_pretraining(FOLDER / f"{name}.toml")
    record = json.loads((FOLDER / name / "scrutiny.json").read_text())
    trained, content = record["trained"], tomllib.loads((FOLDER / f"{name}.toml").read_text())
    assert trained["name"] == config.name == f"scrutiny/mini-{name}"
    assert trained["objective"] == content["objective"] and trained["seed"] == config.seed
    assert content["training"].items() <= trained["training"].items()
    assert {size: value for size, value in content["model"].items() if size != "family"}.items() <= record["sizes"].items()
    log = read_log(FOLDER / name / "log.csv")
    assert log["validation"].iloc[-1] == pytest.approx(trained["validation"]) and log["validation"].iloc[-1] < log["validation"].iloc[0]


def test_it_keeps_the_contract_of_embedders(name, cells):
    check_embedder(lambda: METHODS.get(f"scrutiny/mini-{name}")(device="cpu"), data=cells)


def test_its_untrained_twin_has_other_vectors_of_the_same_shape(name, cells):
    trained, twin = (METHODS.get(f"{kind}scrutiny/mini-{name}")(device="cpu").fit(cells, seed=0) for kind in ("", "control/untrained_"))
    vectors, others = trained.embed(cells).values, twin.embed(cells).values
    assert vectors.shape == others.shape == (cells.n_cells, 128)
    assert np.abs(vectors - others).max() > 0.01


@pytest.mark.parametrize(("file", "answer"), [("pbmc3k", "seen"), ("zheng_facs", "not listed"), ("pbmc68k_reduced", "not listed")])
def test_it_says_whether_it_saw_cells(shared_data, file, answer):
    from scrutiny.data.read import read

    data = read(shared_data / f"{file}.h5ad")
    told = METHODS.get("scrutiny/mini-rank")(device="cpu").facts(data)["exposure"]
    assert told["answer"] == answer
    if answer == "seen":
        assert told["n_seen"] > 0.9 * data.n_cells
