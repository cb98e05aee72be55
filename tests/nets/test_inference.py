"""Running nets over many cells: every cell once, whatever the batches, with errors that surface and memory that runs out."""

import logging
import threading

import numpy as np
import pytest
import torch

from scrutiny.core.errors import InputError
from scrutiny.nets.inference import Runner, device_of, in_background
from scrutiny.nets.tokens import Tokens

CPU = torch.device("cpu")
CPU_ERROR = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


def chunk(lengths, first_id=0):
    ids = first_id + np.arange(sum(lengths))
    return Tokens(np.array(lengths, dtype=np.int64), {"ids": ids}, {"n": np.array(lengths, dtype=np.float32)})


def sum_of_ids(batch):
    """(B, 2): what tells one cell from all others."""
    total = torch.zeros(batch.n_cells, dtype=torch.float64).index_add_(0, batch.cell, batch.columns["ids"].double())
    return torch.stack([total, batch.cells["n"].double()], dim=1)


def gathered(parts, n_cells):
    out = np.full((n_cells, 2), np.nan)
    for rows, values in parts:
        assert np.isnan(out[rows]).all(), "a cell came twice"
        out[rows] = values
    assert not np.isnan(out).any(), "a cell is missing"
    return out


CHUNKS = [chunk([3, 0, 7, 1]), chunk([], 11), chunk([2, 2, 9, 0, 0, 4], 11)]
N_CELLS = 10
EXPECTED = np.array([[c.of(i).sum(), n] for c in CHUNKS for i, n in enumerate(c.lengths)])


@pytest.mark.parametrize("budget", [1, 5, 9, 10, 1000])
def test_every_cell_once_whatever_the_batches(budget):
    batches = []

    def compute(batch):
        batches.append(batch.lengths)
        return sum_of_ids(batch)

    assert np.array_equal(gathered(Runner(CPU, tokens_per_batch=budget)(iter(CHUNKS), compute), N_CELLS), EXPECTED)
    assert all(len(b) == 1 or sum(max(n, 1) for n in b) <= budget for b in batches)
    assert all(list(b) == sorted(b, reverse=True) for b in batches), "the longest first"


@pytest.mark.parametrize("n", [1, 3, 4, 100])
def test_fixed_batches_run_on_across_chunks_in_the_order_of_the_file(n):
    seen = []

    def compute(batch):
        seen.append(batch.lengths)
        return sum_of_ids(batch)

    assert np.array_equal(gathered(Runner(CPU, cells_per_batch=n)(CHUNKS, compute), N_CELLS), EXPECTED)
    everything = [int(length) for c in CHUNKS for length in c.lengths]
    assert seen == [tuple(everything[i : i + n]) for i in range(0, N_CELLS, n)]


@pytest.mark.parametrize("error", [MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU_ERROR)])
def test_where_memory_runs_out_smaller_batches_go_on_and_no_cell_is_lost(error, caplog):
    tried = []

    def compute(batch):
        tried.append(batch.n_tokens)
        if batch.n_tokens > 10:
            raise error
        return sum_of_ids(batch)

    runner = Runner(CPU, tokens_per_batch=40)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(gathered(runner(CHUNKS, compute), N_CELLS), EXPECTED)
    assert "not enough memory" in caplog.text
    assert sum(n > 10 for n in tried) <= 3, "what was too much once is not tried again"


def test_a_real_allocation_that_fails_is_known_as_such():
    def compute(batch):
        if batch.n_cells > 1:
            torch.empty(1 << 60, dtype=torch.uint8)
        return sum_of_ids(batch)

    assert np.array_equal(gathered(Runner(CPU)(CHUNKS, compute), N_CELLS), EXPECTED)


@pytest.mark.parametrize(("fixed", "match"), [(None, "one cell of 9 tokens"), (2, "2 cells at a time")])
def test_what_cannot_be_made_smaller_is_an_error(fixed, match):
    def compute(batch):
        raise MemoryError

    with pytest.raises(InputError, match=match):
        list(Runner(CPU, cells_per_batch=fixed)([chunk([9, 9])], compute))


def test_other_errors_are_not_taken_for_lack_of_memory():
    def compute(batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Runner(CPU)(CHUNKS, compute))


def test_an_error_while_tokens_are_made_surfaces_after_what_came_before():
    def chunks():
        yield CHUNKS[0]
        raise InputError("the file ends early")

    done = []
    with pytest.raises(InputError, match="ends early"):
        for part in Runner(CPU)(chunks(), sum_of_ids):
            done.extend(part.rows)
    assert sorted(done) == [0, 1, 2, 3]


def test_the_next_item_is_made_while_this_one_is_used():
    made = [threading.Event() for _ in range(3)]

    def items():
        for event in made:
            event.set()
            yield event

    for place, _ in enumerate(in_background(items())):
        assert place == 2 or made[place + 1].wait(timeout=20), "the next item was not begun"


def test_who_stops_early_leaves_no_thread_and_makes_no_more_than_one_ahead():
    made = []

    def items():
        for number in range(1000):
            made.append(number)
            yield number

    before = threading.active_count()
    stream = in_background(items())
    assert next(stream) == 0
    stream.close()
    assert threading.active_count() == before and len(made) <= 2


def test_an_error_of_who_uses_the_items_leaves_no_thread():
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        for number in in_background(range(10)):
            1 / number  # noqa: B018
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta", ""])
def test_unknown_devices_are_named(name):
    with pytest.raises(InputError, match="device"):
        device_of(name)


def test_a_device_that_is_not_there_and_an_unknown_precision():
    assert device_of("auto").type in ("cpu", "cuda", "mps")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="--device cpu"):
            device_of("cuda")
    with pytest.raises(InputError, match="float16"):
        Runner(CPU, "float16")


def test_bfloat16_gives_float32_near_that_of_float32():
    weight = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))

    def compute(batch):
        return torch.nn.functional.linear(batch.cells["n"][:, None] / 9, weight.T)

    exact, rounded = (np.concatenate([v for _, v in Runner(CPU, p)([chunk([9, 3])], compute)]) for p in ("float32", "bfloat16"))
    assert rounded.dtype == np.float32
    assert 0 < np.abs(exact - rounded).max() < 0.02 * np.abs(exact).max()
