"""Heads that are trained classifiers: the linear probe, a small network, trees. Features are standardised where scale matters."""

from __future__ import annotations

import warnings
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from scrutiny.metrics.logistic import LogisticFit, fit_logistic

from .reading import HeadCard, ReadsEmbedding

BATCH = 200
LEAST_EPOCHS = 20


class LogisticHead(ReadsEmbedding):
    """Multinomial logistic regression on standardised vectors: the linear probe; see `Reading` for how it is used.

    With fewer labelled cells than dimensions these keep their proportions: the cells cannot tell which dimension says more than its
    variance does, and the last principal components, blown up to the size of the first, are noise.
    """

    card = HeadCard("logreg", "multinomial logistic regression (the linear probe)", version="2", space={"C": (0.01, 0.1, 1.0, 10.0)})

    def __init__(self, C: float = 1.0) -> None:  # noqa: N803 - the name that everybody knows
        self.C = C

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int) -> Self:
        _, codes = np.unique(labels, return_inverse=True)
        scale: Literal["each", "all"] = "all" if len(vectors) < vectors.shape[1] else "each"
        self._found: LogisticFit = fit_logistic(vectors, codes, C=self.C, scale=scale)
        return self

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.floating]:
        return self._found.probabilities(vectors)

    @property
    def n_trainable(self) -> int:
        return self._found.n_trainable


class MlpHead(ReadsEmbedding):
    """A network of one hidden layer on standardised vectors: Adam, rate 0.001, batches of 200.

    The squared weights count as in the probe with C = 1 / decay; with much less a few cells are learnt by heart. It takes 2,000 steps, and
    at least 20 epochs, unless the loss of the training cells stays for 10 epochs before.
    """

    card = HeadCard(
        "mlp",
        "a network of one hidden layer",
        seeded=True,
        seconds_per_1000_cells=1.0,
        space={"width": (32, 128, 512), "decay": (0.01, 1.0, 10.0)},
    )

    def __init__(self, width: int = 128, decay: float = 1.0, steps: int = 2000) -> None:
        self.width, self.decay, self.steps = width, decay, steps

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int) -> Self:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits

        epochs = max(LEAST_EPOCHS, self.steps // -(-len(vectors) // BATCH))
        net = MLPClassifier((self.width,), alpha=self.decay, max_iter=epochs, batch_size=min(BATCH, len(vectors)), random_state=seed)
        self._model: Any = make_pipeline(StandardScaler(), net)
        with warnings.catch_warnings(), threadpool_limits(1):  # on batches this small threads wait for each other
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of steps is an option
            self._model.fit(vectors, labels)
        return self

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.floating]:
        return self._model.predict_proba(vectors)

    @property
    def n_trainable(self) -> int:
        net = self._model[-1]
        return int(sum(array.size for array in (*net.coefs_, *net.intercepts_)))


class ForestHead(ReadsEmbedding):
    """Random forest: each tree on cells drawn anew, the square root of the number of dimensions looked at for a split."""

    card = HeadCard(
        "forest",
        "random forest of 200 trees",
        seeded=True,
        seconds_per_1000_cells=0.8,
        citation="Breiman 2001, Machine Learning 45:5",
        space={"trees": (200, 500), "leaf_cells": (1, 5, 20), "share_tried": ("sqrt", 0.2)},
    )

    def __init__(self, trees: int = 200, leaf_cells: int = 1, share_tried: float | str = "sqrt") -> None:
        self.trees, self.leaf_cells, self.share_tried = trees, leaf_cells, share_tried

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int) -> Self:
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(
            self.trees, min_samples_leaf=self.leaf_cells, max_features=self.share_tried, random_state=seed, n_jobs=_threads()
        )
        self._model = forest.fit(vectors, labels).set_params(n_jobs=1)  # threads would add up the trees in any order
        return self

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.floating]:
        return self._model.predict_proba(vectors)

    @property
    def n_trainable(self) -> int:
        """A threshold or a leaf for each node."""
        return int(sum(tree.tree_.node_count for tree in self._model.estimators_))


class BoostingHead(ReadsEmbedding):
    """Gradient boosted trees by LightGBM: 100 rounds of one tree for each label, 31 leaves, rate 0.1, one thread, the same each time."""

    card = HeadCard(
        "boosting",
        "gradient boosted trees (LightGBM, 100 rounds)",
        requires=("lightgbm",),
        extra="annotation",
        seconds_per_1000_cells=2.0,
        citation="Ke et al. 2017, NeurIPS (LightGBM)",
        space={"rounds": (100, 300), "rate": (0.1, 0.03), "leaves": (31, 7)},
    )
    LEAST_IN_LEAF = 20

    def __init__(self, rounds: int = 100, rate: float = 0.1, leaves: int = 31) -> None:
        self.rounds, self.rate, self.leaves = rounds, rate, leaves

    def fit(self, vectors: NDArray[np.float32], labels: NDArray[np.str_], *, seed: int) -> Self:
        import lightgbm

        _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        options = {
            "objective": "multiclass",
            "num_class": len(sizes),
            "learning_rate": self.rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": int(np.clip(sizes.min() // 2, 1, self.LEAST_IN_LEAF)),  # else rare labels are never told
            "min_data_in_bin": 1,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        cells = lightgbm.Dataset(vectors, codes, params={"verbosity": -1, "feature_pre_filter": False, "min_data_in_bin": 1})
        self._model = lightgbm.train(options, cells, num_boost_round=self.rounds)
        return self

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.floating]:
        return self._model.predict(vectors, num_threads=1)

    @property
    def n_trainable(self) -> int:
        """A threshold for each split and a value for each leaf."""
        leaves = [tree["num_leaves"] for tree in self._model.dump_model()["tree_info"]]
        return int(sum(2 * n - 1 for n in leaves))


def _threads() -> int:
    """As many as BLAS is allowed, which is what a job may use."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
