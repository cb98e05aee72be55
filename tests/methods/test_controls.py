"""Controls do what their names say, and the order of the file plays no part."""

import numpy as np
import pytest

from scrutiny.core.cards import TWIN
from scrutiny.core.errors import NotApplicable
from scrutiny.core.registry import METHODS
from scrutiny.data.synth import planted
from scrutiny.methods.controls import BatchOnly, LabelOracle, NoIntegration, RandomProjection, Shuffle, ShuffleWithinLabel
from scrutiny.methods.linear import Hvg, HvgPca

CELLS = planted(200, 60)
TRUTH = {role: CELLS.role(role) for role in ("label", "batch")}
BLIND = CELLS.hide("label")


def embedded(method, seed=0):
    return method().fit(BLIND, seed=seed).embed(BLIND, truth=TRUTH).values


def test_no_integration_is_hvg_pca():
    np.testing.assert_array_equal(embedded(NoIntegration), HvgPca().fit(BLIND, seed=0).embed(BLIND).values)


def test_shuffle_keeps_the_vectors_and_moves_them():
    plain, shuffled = embedded(NoIntegration), embedded(Shuffle)
    assert sorted(plain[:, 0]) == sorted(shuffled[:, 0])
    assert np.mean((plain == shuffled).all(axis=1)) < 0.05


def test_shuffle_within_label_keeps_every_labels_vectors():
    plain, shuffled = embedded(NoIntegration), embedded(ShuffleWithinLabel)
    assert np.mean((plain == shuffled).all(axis=1)) < 0.1
    for label in np.unique(TRUTH["label"]):
        here = TRUTH["label"] == label
        assert sorted(plain[here, 0]) == sorted(shuffled[here, 0])


@pytest.mark.parametrize(("method", "role"), [(LabelOracle, "label"), (BatchOnly, "batch")])
def test_one_hot_controls_hold_one_role_and_nothing_else(method, role):
    values = embedded(method)
    names, codes = np.unique(TRUTH[role], return_inverse=True)
    assert values.shape == (200, len(names))
    np.testing.assert_array_equal(values.argmax(axis=1), codes)
    jitter = values - np.eye(len(names))[codes]
    assert 0.009 < jitter.std() < 0.011
    assert len(np.unique(values, axis=0)) == 200, "no two cells tie"


def test_random_projection_keeps_distances_roughly():
    full, projected = Hvg().fit(BLIND, seed=0).embed(BLIND).values, embedded(RandomProjection)
    left, right = np.arange(0, 200, 2), np.arange(1, 200, 2)
    ratio = np.linalg.norm(projected[left] - projected[right], axis=1) / np.linalg.norm(full[left] - full[right], axis=1)
    assert abs(ratio.mean() - 1) < 0.1, "50 dimensions: sd 0.1 by Johnson and Lindenstrauss"


LISTED = [name for name in METHODS.names() if name.startswith("control/") and not name.startswith(TWIN)]
CONTROLS = [name for name in LISTED if hasattr(METHODS.get(name), "embed")]


@pytest.mark.parametrize("name", CONTROLS)
def test_the_order_of_the_file_plays_no_part(name):
    rows = np.random.default_rng(3).permutation(CELLS.n_cells)
    method = METHODS.get(name)().fit(BLIND, seed=0)
    turned = method.embed(BLIND.take(rows), truth={role: values[rows] for role, values in TRUTH.items()})
    np.testing.assert_allclose(turned.values, embedded(METHODS.get(name))[rows], atol=1e-4)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_follows_the_seed_where_its_card_says_so(name):
    method = METHODS.get(name)
    same = np.array_equal(embedded(method, seed=0), embedded(method, seed=1))
    assert same != method.card.seeded


def test_without_the_role_a_control_is_not_applicable():
    with pytest.raises(NotApplicable, match="label"):
        ShuffleWithinLabel().fit(BLIND, seed=0).embed(BLIND, truth={"batch": TRUTH["batch"]})
