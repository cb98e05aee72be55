"""Training some of the weights: the probe that a head starts from, weights of labels, who is held out, and what is left alone."""

import numpy as np
import pytest
import torch
from small_training import small_trainer
from tiny_subjects import trainee

from scrutiny.core.errors import InputError
from scrutiny.tuning.adaptation.anatomy import anatomy, matrices
from scrutiny.tuning.adaptation.holdout import held_out
from scrutiny.tuning.adaptation.labels import PENALTY, class_weights, probe
from scrutiny.tuning.adaptation.recipe import Recipe, are_few
from scrutiny.tuning.loop import Trainee, Trainer
from scrutiny.tuning.snapshots import Snapshots


def test_the_probe_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (60, 25, 15))
    vectors = (rng.normal(size=(100, 6)) * [1, 5, 0.1, 1, 1, 0] + labels[:, None] * [1, 2, 0, 0, 0.3, 0]).astype(np.float32)
    weights = class_weights(labels, 3, 0.5)
    head = probe(vectors, labels, weights)
    scaled = StandardScaler().fit_transform(vectors.astype(float))
    theirs = LogisticRegression(C=1 / PENALTY, max_iter=5000, tol=1e-10).fit(scaled, labels, sample_weight=weights.numpy()[labels])
    expected = theirs.predict_proba(scaled)
    with torch.no_grad():
        np.testing.assert_allclose(head(torch.from_numpy(vectors)).softmax(1), expected, atol=5e-4)
    assert head.weight.grad is None and head.bias.grad is None  # or the first step of a training would add to them


def test_weights_of_labels_by_hand():
    labels = np.repeat([0, 1, 2], [16, 4, 1])
    assert class_weights(labels, 3, 0.0).tolist() == [1, 1, 1]
    np.testing.assert_allclose(class_weights(labels, 3, 1.0), 21 / (3 * np.array([16, 4, 1])))  # as scikit-learn's "balanced"
    root = 1 / np.array([4, 2, 1])
    np.testing.assert_allclose(class_weights(labels, 3, 0.5), root * 21 / (4 + 2 + 1), rtol=1e-6)


def test_few_cells_and_many():
    assert are_few(np.repeat([0, 1, 2], [100, 19, 5])) and not are_few(np.repeat([0, 1, 2], [100, 20, 5]))
    many = Recipe().training(320, 50.0, rate=1e-3, few=False, precision="float32", validated=True)
    assert (many.steps, many.tokens_per_batch, many.decay, many.patience, many.validate) == (100, 1600, 0.01, 3, 10)
    few = Recipe(learning_rate=0.1).training(16, 50.0, rate=1e-3, few=True, precision="float32", validated=False)
    assert (few.steps, few.tokens_per_batch, few.decay, few.patience, few.learning_rate) == (60, 400, 0.1, 0, 0.1)
    with pytest.raises(InputError, match="epochs is 0"):
        Recipe(epochs=0)


def test_no_label_is_lost_to_who_is_held_out():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2])
    donors = np.array(["a", "a", "b", "b", "a", "a", "a", "b", "b", "b", "c", "c"])
    rng = np.random.default_rng(0)
    assert held_out(labels, {"donor": donors}, rng).by == "cell"  # "a" and "b" are more than a third each, "c" alone has label 2
    donors[3], donors[10] = "c", "b"
    found = held_out(labels, {"donor": donors}, rng)
    assert found.by == "donor" and found.rows.tolist() == [3, 11]
    assert held_out(labels[:4], {}, rng).by == "nothing"


def partly(folder, trained, **options):
    """The small training of a net of which some weights are trained."""
    whole = small_trainer(folder.with_name("unused"), **options)
    more = {name: getattr(whole, name) for name in ("n_cells", "validation", "training", "key", "device", "tell")}
    return Trainer(whole.subject, whole.trainee.objective, whole.feed, folder=folder, trained=trained, **more)


def test_what_is_not_trained_stays_and_is_in_no_snapshot(tmp_path):
    trained = {"layers.1.ff1.weight", "layers.1.ff2.bias"}
    trainer = partly(tmp_path / "a", trained)
    before = {name: tensor.clone() for name, tensor in trainer.subject.net.state_dict().items()}
    trainer.run()
    after = trainer.subject.net.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == trained
    held = {name for name in Snapshots(tmp_path / "a" / "snapshots").last().tensors if name.startswith("module/net.")}
    assert held == {f"module/net.{name}" for name in trained}
    assert {name for name, p in trainer.subject.net.named_parameters() if p.grad is not None} <= trained
    again = partly(tmp_path / "a", trained)
    assert all(torch.equal(tensor, after[name]) for name, tensor in again.subject.net.state_dict().items())
    with pytest.raises(InputError, match="of another net or objective"):
        partly(tmp_path / "a", {"layers.0.ff1.weight"})


def test_statistics_of_batches_stay_where_a_part_is_trained():
    subject, made, _ = trainee("scimilarity", "contrastive")
    part = Trainee(subject, made, {"out.weight"}).train()
    assert not part.net.training and part.objective.training
    assert Trainee(subject, made).train().net.training


@pytest.mark.parametrize("family", ["geneformer", "scbert", "scfoundation", "langcell", "cellplm"])
def test_the_anatomy_of_a_net(family):
    """Heads of pretraining are not reached, all layers of a twin that is used by its last one are."""
    objective = {"geneformer": "masked_rank", "scbert": "masked_classes", "langcell": "contrastive"}.get(family, "masked_values")
    subject, _, cells = trainee(family, objective)
    found = anatomy(subject, cells.take(np.arange(2)))
    assert len(found.layers) == (1 if family == "geneformer" else 2)  # Geneformer is used by its second to last layer
    assert not any(name.startswith(("head", "decoder", "narrow")) for name in found.reached)
    parts = [part.removeprefix(f"{found.layers[0]}.") for matrix in matrices(subject.net, found.layers[:1]) for part in matrix.parts]
    assert parts == ["attention.q", "attention.k", "attention.v", "attention.out", "ff1", "ff2"]
    assert found.of_last(1) >= found.above and not any(p.requires_grad for p in subject.net.parameters())
