"""The loop: what it minimises, what it logs, when it ends, which weights it leaves."""

import logging
import math

import numpy as np
import pytest
import torch
from small_training import N_CELLS, N_SHARDS, small_trainer
from tiny_subjects import drawn, trainee

from scrutiny.core.errors import InputError
from scrutiny.nets.tokens import batch_of
from scrutiny.tuning.curves import read_log
from scrutiny.tuning.feed import Place
from scrutiny.tuning.loop import State, operations, recompute_layers


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.subject.net.state_dict().items()}


def test_steps_are_those_of_a_loop_written_out(tmp_path):
    trainer = small_trainer(tmp_path / "a", steps=3, accumulate=2, clip=0.0, decay=0.0, warmup=0.0, last_rate=1.0)
    plain = small_trainer(tmp_path / "b", steps=3, accumulate=2)
    adam = torch.optim.AdamW(plain.trainee.parameters(), lr=1e-2, betas=(0.9, 0.98), weight_decay=0.0)
    for _, step in zip(range(3), plain.feed.steps(Place())):
        losses = [plain.trainee(batch_of(tokens)).total for tokens in step.batches]
        adam.zero_grad()
        (sum(losses) / 2).backward()
        adam.step()
    trainer.run()
    expected = weights(plain)
    for name, tensor in weights(trainer).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-5)  # a thousandth of a step of Adam, 1e-2


def test_the_log_has_a_row_for_each_validation_and_pandas_reads_it(tmp_path):
    told = []
    trainer = small_trainer(tmp_path, steps=8, validate=4, tell=told.append)
    state = trainer.run()
    log = read_log(tmp_path / "log.csv")
    assert log["step"].tolist() == [2, 4, 6, 8]
    assert log["cells"].iloc[-1] == state.cells
    assert (log["epoch"] == (log["cells"] / (N_SHARDS * N_CELLS)).round(4)).all()
    assert (log["train"] == log["train_cross_entropy"]).all() and (log["waited"] <= log["seconds"]).all()
    losses = [report.loss for report in told]
    np.testing.assert_allclose(log["train"], np.mean(np.reshape(losses, (4, 2)), axis=1))  # the mean since the last row
    assert [report.row["step"] for report in told if report.row] == [2, 4, 6, 8]


def test_validation_is_the_mean_over_held_out_cells(tmp_path):
    trainer = small_trainer(tmp_path, steps=2, validate=1)
    trainer.run()
    with torch.no_grad():
        losses = [trainer.trainee.eval()(batch_of(tokens)).total.item() for tokens in trainer.validation()]
    assert trainer.log.rows[-1]["validation"] == pytest.approx(np.mean(losses))  # both batches have 10 cells


def test_training_ends_after_epochs_steps_or_operations(tmp_path):
    by_epochs = small_trainer(tmp_path / "epochs", steps=0, epochs=1.5).run()
    assert 1.5 <= by_epochs.cells / (N_SHARDS * N_CELLS) < 1.5 + 1 / N_SHARDS
    wanted = by_epochs.flops / 2
    by_operations = small_trainer(tmp_path / "operations", steps=0, teraflops=wanted / 1e12).run()
    assert wanted <= by_operations.flops < by_epochs.flops
    assert small_trainer(tmp_path / "steps", steps=5).run().step == 5


def test_operations_of_attention_are_counted_on_processors():
    subject, made, cells = trainee("geneformer", "masked_rank")
    batch = drawn(subject, made, cells)
    with operations() as counter:
        subject.hidden(subject.net, batch)
    n, d, ff, layers = batch.n_tokens, 16, 24, 2
    attention = sum(4 * length**2 * d for length in batch.lengths)
    assert counter.get_total_flops() == layers * (n * (8 * d * d + 4 * d * ff) + attention)


def test_the_best_weights_are_used_where_training_ends_early(tmp_path):
    trainer = small_trainer(tmp_path, steps=60, validate=30, patience=3, learning_rate=0.3)
    state = trainer.run()
    log = read_log(tmp_path / "log.csv").set_index("step")
    assert state.step < 60 and state.not_better == 3
    assert state.best_step == log["validation"].idxmin() < state.step
    assert trainer._score()["validation"] == log["validation"].min()
    again = small_trainer(tmp_path, steps=60, validate=30, patience=3, learning_rate=0.3)
    again.run()  # ended: nothing is trained, the best weights are there
    assert all(torch.equal(tensor, weights(trainer)[name]) for name, tensor in weights(again).items())


def test_the_last_weights_are_used_without_patience(tmp_path):
    trainer = small_trainer(tmp_path, steps=40, validate=40, learning_rate=1.0, last_rate=1.0)
    state = trainer.run()
    assert state.best_step < state.step == 40
    assert trainer._score()["validation"] == trainer.log.rows[-1]["validation"]


def test_layers_that_are_computed_again_give_the_same_gradients():
    gradients = []
    for again in (False, True):
        subject, made, cells = trainee("geneformer", "masked_rank")
        if again:
            recompute_layers(subject.net)
        with operations() as counter:
            made(subject, drawn(subject, made, cells)).total.backward()
        gradients.append(({name: p.grad for name, p in subject.net.named_parameters()}, counter.get_total_flops()))
    (kept, fewer), (recomputed, more) = gradients
    assert more > fewer
    for name, gradient in kept.items():
        assert gradient is recomputed[name] is None or torch.equal(gradient, recomputed[name])


@pytest.mark.parametrize("family", ["scbert", "cellplm"])
def test_layers_of_other_kinds_are_computed_again_too(family):
    subject, _, _ = trainee(family, "masked_classes" if family == "scbert" else "masked_values")
    recompute_layers(subject.net)
    assert "forward" in vars(subject.net.layers[0])


def test_a_net_without_layers_cannot_compute_them_again():
    with pytest.raises(InputError, match="Linear has no transformer layers; leave out checkpointing"):
        recompute_layers(torch.nn.Linear(2, 2))


def test_another_training_in_the_folder_is_refused(tmp_path):
    small_trainer(tmp_path, steps=2).run()
    trainer = small_trainer(tmp_path / "other", steps=2)
    trainer.key, trainer.snapshots.folder = "another", tmp_path / "snapshots"
    with pytest.raises(InputError, match="another config or corpus; name another folder"):
        trainer._resume()
    with pytest.raises(InputError, match="batches a step: 1 before, 3 now"):
        small_trainer(tmp_path, steps=2, accumulate=3)


def test_other_conditions_are_warned_of(tmp_path, caplog):
    small_trainer(tmp_path, steps=2).run()
    n_threads = torch.get_num_threads()
    torch.set_num_threads(n_threads + 1)
    try:
        with caplog.at_level(logging.WARNING):
            small_trainer(tmp_path, steps=2)
    finally:
        torch.set_num_threads(n_threads)
    assert f"threads: {n_threads} before, {n_threads + 1} now" in caplog.text


def test_a_gradient_that_is_not_finite_ends_the_training(tmp_path):
    trainer = small_trainer(tmp_path)
    with torch.no_grad():
        trainer.subject.net.norm.weight.fill_(math.nan)
    with pytest.raises(InputError, match="the gradient of step 0 is nan; take a lower learning_rate or float32"):
        trainer.run()


def test_without_held_out_cells_nothing_is_trained_for_long(tmp_path):
    trainer = small_trainer(tmp_path, steps=1)
    trainer.validation = lambda: iter(())
    with pytest.raises(InputError, match="no cells are held out"):
        trainer.run()


def test_a_state_survives_as_plain_values():
    state = State(step=3, place=Place(1, 2, 3), best=0.5)
    assert State.of({**vars(state), "place": [1, 2, 3]}) == state
