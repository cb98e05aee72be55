"""Small methods, metrics and a task whose behaviour is known; importable by child processes."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from scrutiny.core.cards import MethodCard, MetricCard, TaskCard
from scrutiny.core.errors import NotApplicable
from scrutiny.core.outputs import CellEmbedding
from scrutiny.core.protocols import Problem
from scrutiny.core.registry import metric, register_method, register_metric, register_task
from scrutiny.engine.embedding import Chosen

FAR = 100.0


def card(name, **more):
    return MethodCard(f"toy/{name}", "a toy", kind="baseline", seconds_to_start=0.0, seconds_per_1000_cells=0.0, **more)


class Toy:
    """First columns of the matrix; notes each fit as a line in the file ``calls``, so that tests can count across processes."""

    def __init__(self, calls: str = "", tag: str = "") -> None:
        self.calls = calls

    def fit(self, train, *, seed):
        self.seed = seed
        if self.calls:
            with Path(self.calls).open("a") as file:
                file.write(f"{os.getpid()}\n")
        return self

    def embed(self, query):
        return CellEmbedding(query.values[:, :5].toarray() + np.float32(self.seed), query.cell_ids)


@register_method
class Counting(Toy):
    card = card("counting")


@register_method
class Seeded(Toy):
    card = card("seeded", seeded=True)


@register_method
class ReadsBatch(Toy):
    card = card("reads_batch", reads=frozenset({"batch"}))

    def embed(self, query):
        assert list(query.obs.columns) == [query.roles["batch"]], "sees a column that its card does not name"
        return super().embed(query)


@register_method
class Misaligned(Toy):
    card = card("misaligned")

    def embed(self, query):
        return CellEmbedding(np.zeros((3, 2), np.float32), np.array(["a", "b", "c"]))


@register_method
class Raising(Toy):
    card = card("raising")

    def embed(self, query):
        raise ValueError("the toy is broken\nsecond line")


@register_method
class Refusing(Toy):
    card = card("refusing")

    def fit(self, train, *, seed):
        raise NotApplicable("the toy does not fit these cells")


@register_method
class Deadly(Toy):
    """Ends its process."""

    card = card("deadly")

    def __init__(self, calls: str = "", how: str = "exit") -> None:
        super().__init__(calls)
        self.how = how

    def embed(self, query):
        if self.how == "exit":
            os._exit(3)
        if self.how == "abort":
            os.write(2, b"all is well\nout of ideas\n")
            os.abort()
        os.kill(os.getpid(), signal.SIGKILL)


@register_method
class Slow(Toy):
    card = card("slow", seeded=True)

    def __init__(self, calls: str = "", seconds: float = 0.3, tag: str = "") -> None:
        super().__init__(calls)
        self.seconds = seconds

    def embed(self, query):
        time.sleep(self.seconds)
        return super().embed(query)


@register_method
class Hungry(Toy):
    """Holds 300 MB for a moment."""

    card = card("hungry")

    def embed(self, query):
        held = np.ones(300 * 2**20 // 8)
        held[::512] += 1
        return super().embed(query)


@register_method
class Alone(Toy):
    """Embeds each cell by itself; notes each fit and each call with its cells.

    The first ``deaths`` calls with the cell ``deadly`` end the process, or all fits if that is "fit".
    """

    card = card("alone", independent=True, gpu=True)

    def __init__(self, calls: str = "", seconds: float = 0.0, deadly: str = "", deaths: int = 0) -> None:
        super().__init__("")
        self.notes, self.seconds, self.deadly, self.deaths = calls, seconds, deadly, deaths

    def fit(self, train, *, seed):
        self.note("fit", os.getpid())
        if self.deadly == "fit":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(train, seed=seed)

    def embed(self, query):
        self.note("embed", query.cell_ids[0], query.cell_ids[-1])
        if self.deadly in query.cell_ids:
            self.note("death")
            if Path(self.notes).read_text().count("death") <= self.deaths:
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        made = super().embed(query)
        return CellEmbedding(made.values * np.nan, made.cell_ids) if self.deadly == "nan" else made

    def note(self, *words):
        if self.notes:
            with Path(self.notes).open("a") as file:
                file.write(" ".join(map(str, words)) + "\n")


@register_method
class Together:
    card = MethodCard("toy/together", "a toy", transductive=True)

    def fit_embed(self, data, *, seed):
        return CellEmbedding(data.values[:, :5].toarray(), data.cell_ids)


@register_method
class Taught(Toy):
    """Knows the labels of the training cells."""

    card = card("taught", reads=frozenset({"label"}), supervised=True)

    def fit(self, train, *, seed):
        assert train.has("label")
        return super().fit(train, seed=seed)

    def embed(self, query):
        assert not query.has("label") and not len(query.obs.columns)
        return super().embed(query)


@register_method
class Peeking(Toy):
    card = MethodCard("toy/peeking", "a control that is shown the truth", kind="control")

    def embed(self, query, *, truth):
        codes = np.unique(truth["label"], return_inverse=True)[1]
        return CellEmbedding(codes[:, None].astype(np.float32), query.cell_ids)


def toy_metric(name):
    return MetricCard(f"toy/{name}", "cell types", better="higher", low=0.0, high=1.0, recipe="a toy")


@register_metric
@metric(toy_metric("separation"))
def separation(embedding, labels):
    """Share of the variance that lies between labels."""
    total = ((embedding - embedding.mean(axis=0)) ** 2).sum()
    groups = [embedding[labels == label] for label in np.unique(labels)]
    within = sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups)
    return float(1 - within / total) if total else 0.0


@register_metric
@metric(toy_metric("broken"))
def broken(embedding):
    raise RuntimeError("the metric is broken")


@register_metric
@metric(toy_metric("nan"))
def not_a_number(embedding):
    return float("nan")


@register_metric
@metric(toy_metric("lacking"))
def lacking(embedding, something_else):
    raise AssertionError("is never called")


@register_task
class Separate:
    card = TaskCard(
        "toy/separate",
        "are labels apart?",
        asks="embed",
        metrics=("toy/separation", "toy/broken", "toy/nan", "toy/lacking"),
        primary="toy/separation",
        roles=frozenset({"label"}),
        query_visible=True,
    )

    def pose(self, data, rng):
        blind = data.hide("label")
        return Problem(blind, blind, {"labels": data.role("label")})

    def context(self, data):
        return {"depth": np.asarray(data.values.sum(axis=1)).ravel()}

    def evidence(self, output, problem):
        return {"embedding": output.values, **problem.truth}


@register_task
class SeparateBatches(Separate):
    """The same cells and output, another truth."""

    card = TaskCard(
        "toy/batches",
        "are batches apart?",
        asks="embed",
        metrics=("toy/separation",),
        primary="toy/separation",
        roles=frozenset({"batch"}),
        query_visible=True,
    )

    def pose(self, data, rng):
        blind = data.hide("label")
        return Problem(blind, blind, {"labels": data.role("batch")})


@register_task
class Split(Separate):
    """Learn on half of the cells."""

    card = TaskCard(
        "toy/split",
        "are labels apart in unseen cells?",
        asks="embed",
        metrics=("toy/separation",),
        primary="toy/separation",
        roles=frozenset({"label"}),
    )

    def pose(self, data, rng):
        rows = rng.permutation(data.n_cells)
        train, query = data.take(rows[::2]), data.take(rows[1::2])
        return Problem(train, query.hide("label"), {"labels": query.role("label")})

    def context(self, data):
        return {}


def toys(*names, **options):
    """Methods by short name, all with the same options."""
    return tuple(Chosen(f"toy/{name}", options) for name in names)
