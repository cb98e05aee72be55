"""The planted data set has the truth that it claims."""

import numpy as np

from scrutiny.data.synth import planted


def test_labels_and_batches_are_crossed_and_counts_whole():
    data = planted(n_cells=120, n_labels=3, n_batches=2)
    assert set(data.obs.value_counts().tolist()) == {20}
    assert (data.values.data == np.round(data.values.data)).all()
    assert data.roles == {"label": "cell_type", "batch": "batch"}
    assert "3 labels" in data.facts["planted"]


def test_the_seed_is_all_that_matters():
    assert planted(seed=1).fingerprint == planted(seed=1).fingerprint != planted(seed=2).fingerprint


def test_effects_are_there_when_planted_and_absent_when_not():
    def apart(data, role):
        groups = data.role(role)
        share = data.values.toarray() / data.values.sum(axis=1)
        means = [np.asarray(share[groups == g]).mean(axis=0) for g in np.unique(groups)]
        return float(np.abs(means[0] - means[1]).sum())

    assert apart(planted(), "label") > 0.5 and apart(planted(), "batch") > 0.2
    assert apart(planted(label_effect=0, batch_effect=0), "label") < 0.05
