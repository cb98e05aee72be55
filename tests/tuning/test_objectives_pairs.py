"""Every family with every objective that it can be trained with: the loss falls, gradients go where they should, nothing else changes."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from tiny_subjects import data, drawn, learn, model_of, trainee

from scrutiny.core.errors import InputError
from scrutiny.methods.foundation.subjects import SUBJECTS, cells_of, subject_of
from scrutiny.nets.tokens import Batch, batch_of
from scrutiny.tuning.objective import Objective
from scrutiny.tuning.objectives.table import OBJECTIVES, objective, supported
from scrutiny.tuning.subject import Cells, Subject

FROM_CELLS = ("expressed", "contrastive")
"""Objectives that read nothing but the vectors of cells, which every family has; "triplet" is another, and has tests of its own."""
NOT_FOR_CELLS = {
    "cellplm": ("decoder",),
    "genecompass": ("head", "value_head"),
    "geneformer": ("head", "layers.1"),  # cells are read from the second to last layer
    "langcell": (),
    "nicheformer": ("head",),
    "scbert": ("head",),
    "scfoundation": ("values.padded", "values.masked", "narrow", "decoder", "norm.", "head"),
    "scgpt": ("context_head", "cell_head"),
    "scimilarity": ("decoder",),
    "uce": (),
}
"""Family -> beginnings of the names of weights that its vectors of cells do not depend on."""
UNTOUCHED = {
    ("cellplm", "masked_values"): ("decoder.dispersion",),
    ("genecompass", "masked_rank"): (),
    ("genecompass", "masked_bins"): ("head",),
    ("genecompass", "joint_embedding"): ("head", "value_head"),
    ("geneformer", "masked_rank"): (),
    ("geneformer", "joint_embedding"): ("head",),
    ("nicheformer", "masked_rank"): (),
    ("nicheformer", "joint_embedding"): ("head",),
    ("scbert", "masked_classes"): (),
    ("scfoundation", "masked_values"): ("values.padded",),
    ("scfoundation", "read_depth"): ("values.padded",),
    ("scfoundation", "joint_embedding"): NOT_FOR_CELLS["scfoundation"],
    ("scgpt", "masked_bins"): (),
    ("scgpt", "generative"): (),
    ("scgpt", "joint_embedding"): ("context_head", "cell_head"),
    **{(family, name): heads for family, heads in NOT_FOR_CELLS.items() for name in FROM_CELLS},
    ("uce", "contrastive"): ("gene_encoder", "binary"),
}
"""Each pair of family and objective -> beginnings of the names of weights that the objective does not train."""


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Of batch norms, which SCimilarity has."""


class Pair(NamedTuple):
    family: str
    name: str
    subject: Subject
    made: Objective
    cells: Cells
    batch: Batch


@pytest.fixture(scope="module", params=UNTOUCHED, ids="-".join)
def pair(request):
    subject, made, cells = trainee(*request.param)
    return Pair(*request.param, subject, made, cells, drawn(subject, made, cells))


def test_the_pairs_are_these_and_no_others(pair):
    assert set(supported(pair.subject)) == {"triplet"} | {name for family, name in UNTOUCHED if family == pair.family}
    assert set(SUBJECTS) == set(NOT_FOR_CELLS)


def test_the_documentation_has_the_same_pairs():
    page = (Path(__file__).parents[2] / "docs" / "PRETRAINING.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")]
    told = {name.strip("`"): families.split(", ") for name, *_, families in rows if name.strip("`") in OBJECTIVES}
    told = {name: list(SUBJECTS) if families == ["all"] else families for name, families in told.items()}
    pairs = {(family, name) for name, families in told.items() for family in families}
    assert pairs == set(UNTOUCHED) | {(family, "triplet") for family in SUBJECTS}


def test_a_family_that_cannot_is_told_what_it_can():
    model = model_of("uce")
    subject = subject_of(model, model.match(data()))
    with pytest.raises(InputError, match=r"'generative' needs enter and .* uce has not; uce can be trained with .*expressed"):
        objective("generative", subject, {})
    with pytest.raises(InputError, match=r"needs logits and masks\.ids"):
        objective("masked_rank", subject, {})
    with pytest.raises(InputError, match=r"did you mean \['masked_values'"):
        objective("masked_value", subject, {})


def test_some_steps_lower_the_loss(pair):
    subject = pair.subject
    fixed = {key: tensor.clone() for key, tensor in frozen(subject.net).items()}
    losses = learn(subject, pair.made, pair.batch)
    assert losses[-1] < 0.97 * losses[0] and np.isfinite(losses).all()
    assert all(torch.equal(tensor, fixed[key]) for key, tensor in frozen(subject.net).items())


def has_batch_norms(net):
    return any(name.endswith(STATISTICS) for name, _ in net.named_buffers())


def frozen(net):
    """What a net is given and does not learn: random matrices of Performers, prior knowledge, proteins, sinusoids."""
    buffers = {name: buffer for name, buffer in net.named_buffers() if not name.endswith(STATISTICS)}
    return {**buffers, **({"table": net.table} if hasattr(net, "table") else {})}


def test_gradients_reach_what_should_learn_and_nothing_else(pair):
    subject, made = pair.subject, pair.made
    subject.net.zero_grad(), made.zero_grad()
    made(subject, pair.batch).total.backward()
    left = {key for key, weight in subject.net.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert left == {key for key, _ in subject.net.named_parameters() if key.startswith(UNTOUCHED[pair.family, pair.name])}
    own = {key for key, weight in made.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert all(key.startswith("target.") for key in own), "only the slow copy of joint_embedding learns by other means"


def test_training_and_validation_are_one_loss(pair):
    subject, made, batch = pair.subject, pair.made, pair.batch
    if has_batch_norms(subject.net):
        pytest.skip("batch norms take the statistics of the batch in training")
    in_training = made(subject, batch).total.detach()
    subject.net.eval(), made.eval()
    with torch.no_grad():
        torch.testing.assert_close(made(subject, batch).total, in_training, rtol=1e-5, atol=1e-6)
    subject.net.train(), made.train()


def test_bfloat16(pair):
    subject, made, batch = pair.subject, pair.made, pair.batch
    exact = made(subject, batch).total.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = made(subject, batch)
        with torch.no_grad():
            torch.testing.assert_close(made(subject, batch).total, exact, rtol=0.03, atol=0)
    loss.total.backward()
    assert loss.total.dtype is torch.float32 and torch.isfinite(torch.stack(list(loss.parts.values()))).all()
    torch.testing.assert_close(loss.total.detach(), exact, rtol=0.03, atol=0)  # products of three significant digits
    assert all(weight.grad is None or torch.isfinite(weight.grad).all() for weight in subject.net.parameters())


def test_draws_follow_the_generator_and_leave_the_cells_alone(pair):
    subject, made, cells = pair.subject, pair.made, pair.cells
    before = copy.deepcopy(cells)
    one, again, other = (made.draw(cells, subject, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert same(one, again) and not same(one, other)
    for part in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(cells.counts, part), getattr(before.counts, part))
    assert np.array_equal(cells.totals, before.totals)


def same(one, other):
    arrays = [(tokens.lengths, *tokens.columns.values(), *tokens.cells.values()) for tokens in (one, other)]
    return all(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(*arrays, strict=True))


def test_a_cell_without_counts_does_no_harm(pair):
    subject, made, cells = pair.subject, pair.made, pair.cells
    empty = cells.counts.copy()
    empty.data[: empty.indptr[1]] = 0
    empty.eliminate_zeros()
    for rows in ([0, 1, 2], [0, 1] if has_batch_norms(subject.net) else [0]):
        batch = batch_of(made.draw(cells._replace(counts=empty).take(np.array(rows)), subject, np.random.default_rng(0)))
        loss = made(subject, batch).total
        loss.backward()
        assert torch.isfinite(loss)


def test_what_was_fine_tuned_on_batches_is_no_beginning():
    model = model_of("scgpt")
    model.files = replace(model.files, config=replace(model.files.config, n_domains=2))
    with pytest.raises(InputError, match="fine-tuned on batches"):
        subject_of(model, model.match(data()))


def test_nicheformer_is_trained_without_padding_and_embeds_with_it():
    model = model_of("nicheformer")
    matched = model.match(data())
    subject = subject_of(model, matched)
    given = next(model.token_chunks(data()))
    batch, whole = batch_of(subject.tokenise(cells_of(model, data()))), batch_of(given)
    is_real = (whole.position < whole.cells["n_real"][whole.cell]).tolist()
    with torch.no_grad():
        torch.testing.assert_close(subject.hidden(model.net, batch), model.net(whole)[is_real], rtol=0, atol=1e-5)
        torch.testing.assert_close(subject.cells(batch), model.embed_batch(whole), rtol=0, atol=1e-5)
    assert batch.n_tokens < whole.n_tokens

