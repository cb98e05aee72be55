"""The stream of batches: every cell once an epoch, a function of the seed, resumed anywhere, shared by processes without loss."""

from itertools import takewhile
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse

from scrutiny.core.errors import InputError
from scrutiny.nets.tokens import Tokens
from scrutiny.tuning.feed import Feed, Place

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


def corpus(sizes):
    """Shards of so many cells; cell i of shard s is called s/i and expresses 1 to 30 genes."""

    def read(shard):
        rng = np.random.default_rng(shard)
        n_genes = rng.integers(1, 31, sizes[shard])
        counts = sparse.csr_matrix((np.ones(n_genes.sum()), np.concatenate([np.arange(n) for n in n_genes]), [0, *np.cumsum(n_genes)]))
        ids = np.array([f"{shard}/{i}" for i in range(sizes[shard])])

        def take(rows):
            return SimpleNamespace(ids=ids[rows], n=n_genes[rows], counts=counts[rows], n_cells=len(rows))

        return SimpleNamespace(**vars(take(np.arange(len(ids)))), take=take)

    return read


def tokens_of(cells, rng, views=1):
    """A token a gene, at most 20, with a number drawn for it; the ids of the cells go with them."""
    lengths = np.tile(np.minimum(cells.n, 20), views)
    return Tokens(lengths, {"drawn": rng.random(lengths.sum())}, {"id": np.tile(cells.ids, views)})


def feed_of(sizes, **fields):
    fields = {"prepare": tokens_of, "tokens_per_batch": 60, "seed": 0, **fields}
    return Feed(len(sizes), corpus(sizes), **fields)


def an_epoch(feed, place=Place()):  # noqa: B008 - a tuple
    """Steps to the end of the epoch that a place is in."""
    return list(takewhile(lambda step: step.after.epoch == place.epoch, feed.steps(place)))


def content(steps):
    """All that the steps hold, as plain values."""
    return [[(b.cells["id"].tolist(), b.lengths.tolist(), b.columns["drawn"].tolist()) for b in step.batches] for step in steps]


def shown(steps):
    return sorted(cell for step in steps for batch in step.batches for cell in batch.cells["id"])


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 3), st.integers(0, 2))
def test_every_cell_is_shown_once_an_epoch(sizes, batches_per_step, epoch):
    assume(max(sizes) >= batches_per_step)
    steps = an_epoch(feed_of(sizes, batches_per_step=batches_per_step), Place(epoch))
    expected = sorted(f"{shard}/{i}" for shard, n in enumerate(sizes) if n >= batches_per_step for i in range(n))  # the rest is left out
    assert shown(steps) == expected
    assert sum(step.n_cells for step in steps) == len(expected)
    assert all(len(step.batches) == batches_per_step and all(batch.n_cells for batch in step.batches) for step in steps)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 3), st.data())
def test_any_place_resumes_the_same_stream(sizes, batches_per_step, data):
    sizes = [n + 2 for n in sizes]
    feed = feed_of(sizes, batches_per_step=batches_per_step)
    steps = an_epoch(feed) + an_epoch(feed, Place(1))
    where = data.draw(st.integers(0, len(steps) - 1))
    resumed = feed.steps(steps[where].after)
    rest = [step for step, _ in zip(resumed, steps[where + 1 :])]
    assert content(rest) == content(steps[where + 1 :])
    assert [step.after for step in rest] == [step.after for step in steps[where + 1 :]]


@settings(max_examples=20, deadline=None)
@given(SIZES, st.integers(1, 3), st.integers(1, 3))
def test_processes_share_the_batches_that_one_would_have(sizes, world, accumulate):
    sizes = [n + 8 for n in sizes]
    alone = an_epoch(feed_of(sizes, batches_per_step=world * accumulate))
    ranks = [an_epoch(feed_of(sizes, batches_per_step=world * accumulate, rank=rank, world=world)) for rank in range(world)]
    for step, *shares in zip(alone, *ranks, strict=True):
        assert all(share.after == step.after and share.n_cells == step.n_cells for share in shares)
        together = [None] * len(step.batches)
        for rank, share in enumerate(shares):
            together[rank::world] = content([share])[0]
        assert together == content([step])[0]


def test_the_order_follows_from_the_seed_and_changes_with_epoch_and_seed():
    sizes = [30, 25]
    first, again, other = (an_epoch(feed_of(sizes, seed=seed)) for seed in (3, 3, 4))
    assert content(first) == content(again)
    assert content(first) != content(other)
    second = an_epoch(feed_of(sizes, seed=3), Place(1))
    assert shown(second) == shown(first)
    assert content(second) != content(first)


def test_views_of_a_cell_stay_together():
    feed = feed_of([30], prepare=lambda cells, rng: tokens_of(cells, rng, views=2), views=2)
    steps = an_epoch(feed)
    assert sum(step.n_cells for step in steps) == 30
    for step in steps:
        first, second = np.split(step.batches[0].cells["id"], 2)
        assert (first == second).all()
    n_tokens = sum(step.batches[0].lengths.sum() for step in steps)
    assert len(steps) == round(n_tokens / 60)  # tokens of both views count


def test_batches_have_about_the_tokens_that_were_asked_for():
    steps = an_epoch(feed_of([4000], tokens_per_batch=500))
    n_tokens = np.array([step.batches[0].lengths.sum() for step in steps])
    assert abs(n_tokens.mean() - 500) < 5
    assert n_tokens.min() > 400 and n_tokens.max() < 600  # a cell has at most 20


def test_a_batch_holds_a_cell_at_least_and_a_cell_may_be_larger_than_a_batch():
    steps = an_epoch(feed_of([10], tokens_per_batch=1))
    assert [step.n_cells for step in steps] == [1] * 10


def test_one_shard_is_read_after_another_and_not_before_it_is_needed():
    read, sizes = [], [40, 40, 40]
    shards = corpus(sizes)
    feed = Feed(3, lambda shard: read.append(shard) or shards(shard), tokens_of, 10, 0)
    next(iter(feed.steps(Place())))
    assert len(read) == 1


def test_too_few_cells_for_a_step_are_told():
    with pytest.raises(InputError, match="no shard of the corpus has 8 cells, one for each batch of a step"):
        next(feed_of([7, 5], batches_per_step=8).steps(Place()))


def test_batches_that_processes_cannot_share_evenly_are_refused():
    with pytest.raises(InputError, match="3 batches, which 2 processes cannot share evenly; make .training. accumulate a multiple of 2"):
        feed_of([9], batches_per_step=3, world=2)


def test_an_error_of_the_corpus_comes_out_where_the_stream_is_used():
    def read(shard):
        raise InputError("the shard is damaged")

    with pytest.raises(InputError, match="the shard is damaged"):
        next(Feed(1, read, tokens_of, 10, 0).steps(Place()))
