"""Agreement of two tellers of labels against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from scrutiny.metrics.agreement import agreement


def test_kappa_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    first = rng.choice(["a", "b", "c"], 200)
    second = np.where(rng.random(200) < 0.6, first, rng.choice(["b", "c", "other"], 200))
    found = agreement(first, second)
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second)) and found.share == (first == second).mean()


def test_by_hand():
    """Half agree; chance would give 1/2 too."""
    assert agreement(np.array(["a", "a", "b", "b"]), np.array(["a", "b", "a", "b"])) == (0.5, 0.0)
    assert agreement(np.array(["a", "b"]), np.array(["a", "b"])) == (1.0, 1.0)
    assert agreement(np.array(["a", "a"]), np.array(["b", "b"])) == (0.0, 0.0)
    assert agreement(np.array(["a", "a"]), np.array(["a", "a"])) == (1.0, None)
