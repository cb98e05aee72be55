"""The training loop: steps of AdamW over the stream of batches, validated and snapshotted on the way, resumed bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from scrutiny.core.errors import InputError
from scrutiny.nets.inference import PRECISIONS
from scrutiny.nets.layers import Block
from scrutiny.nets.tokens import Batch, Tokens, batch_of

from .curves import Log
from .feed import Feed, Place, Step
from .objective import Loss, Objective
from .schedule import Training, optimiser
from .snapshots import Snapshot, Snapshots, restore, tensors_of
from .subject import Subject


class Report(NamedTuple):
    """How far a training is: the share that is done, the row of the log where one was just written."""

    progress: float
    step: int
    seconds: float
    loss: float
    row: Mapping[str, float] | None = None


@dataclass
class State:
    """Plain values of a training that is under way."""

    step: int = 0
    place: Place = Place()
    cells: int = 0
    tokens: int = 0
    flops: float = 0.0
    flops_per_token: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    best: float = math.inf
    not_better: int = 0
    validated: int = 0
    ended: bool = False
    sums: dict[str, float] = field(default_factory=dict)
    """Since the last validation."""

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> State:
        return cls(**{**plain, "place": Place(*plain["place"])})


class Trainee(nn.Module):
    """Net and objective as one module, so that one call, which other processes can be told of, gives the loss."""

    def __init__(self, subject: Subject, objective: Objective) -> None:
        super().__init__()
        self.net, self.objective = subject.net, objective
        self.subject = subject

    def forward(self, batch: Batch) -> Loss:
        return self.objective(self.subject, batch)


class Trainer:
    """Trains a net with an objective.

    Parameters
    ----------
    n_cells
        Of an epoch, for the share of the training that is done.
    validation
        Batches of held-out cells, the same at each call.
    key
        Of all that the result depends on; a snapshot with another one is refused.
    """

    def __init__(
        self,
        subject: Subject,
        objective: Objective,
        feed: Feed,
        *,
        n_cells: int,
        validation: Callable[[], Iterator[Tokens]],
        training: Training,
        folder: Path,
        key: str,
        device: torch.device,
        tell: Callable[[Report], None],
    ) -> None:
        self.subject, self.training, self.feed = subject, training, feed
        self.n_cells, self.validation, self.key, self.device, self.tell = n_cells, validation, key, device, tell
        self.trainee = Trainee(subject, objective).to(device).train()
        subject.net.requires_grad_(True)
        self.optimiser = optimiser(self.trainee, training)
        self.snapshots, self.log = Snapshots(folder / "snapshots"), Log(folder / "log.csv")
        self.state = State()
        self.module: Callable[[Batch], Loss] = self.trainee
        self._began, self._before = time.perf_counter(), 0.0
        if training.checkpointing:
            recompute_layers(subject.net)
        self._resume()

    def run(self) -> State:
        """Train to the end."""
        self._began, self._before = time.perf_counter(), self.state.seconds
        last_snapshot, waiting = time.perf_counter(), time.perf_counter()
        if self.state.ended:
            return self.state
        for step in self.feed.steps(self.state.place):
            self.state.waited += time.perf_counter() - waiting
            loss = self._step(step)
            row = self._validate() if self._is_due() else None
            self.tell(Report(self.progress, self.state.step, self.state.seconds, loss, row))
            if self.progress >= 1 or (self.training.patience and self.state.not_better >= self.training.patience):
                break
            if time.perf_counter() - last_snapshot >= self.training.snapshot_seconds:
                self._snapshot()
                last_snapshot = time.perf_counter()
            waiting = time.perf_counter()
        self.state.ended = True
        self._snapshot()
        return self.state

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        state, training = self.state, self.training
        if training.steps:
            return state.step / training.steps
        if training.epochs:
            return state.cells / (training.epochs * self.n_cells)
        return state.flops / (training.teraflops * 1e12)

    def _step(self, step: Step) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.rate(self.progress)
        n_batches = len(step.batches) * self.feed.world
        losses = []
        for tokens in step.batches:
            batch = batch_of(tokens, self.device)
            with self._counted(tokens):
                with self._autocast():
                    loss = self.module(batch)
                (loss.total * (self.feed.world / n_batches)).backward()
            losses.append(loss)
            self._count(tokens)
        norm = nn.utils.clip_grad_norm_(self.trainee.parameters(), self.training.clip or math.inf)
        if not torch.isfinite(norm):
            raise InputError(f"the gradient of step {self.state.step} is {float(norm)}; take a lower learning_rate or float32")
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.state.step, self.state.place = self.state.step + 1, step.after
        self.trainee.objective.after_step(self.subject, self.progress)
        self.state.seconds = self._before + time.perf_counter() - self._began
        total = float(torch.stack([loss.total.detach() for loss in losses]).mean())
        means = {name: float(torch.stack([loss.parts[name] for loss in losses]).mean()) for name in losses[0].parts}
        self._add({"steps": 1.0, "train": total, "gradient_norm": float(norm), **{f"train_{name}": value for name, value in means.items()}})
        return total

    def _add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.state.sums[name] = self.state.sums.get(name, 0.0) + value

    def _count(self, tokens: Tokens) -> None:
        world, views = self.feed.world, self.trainee.objective.views
        self.state.cells += tokens.n_cells // views * world
        n_tokens = int(tokens.lengths.sum()) * world
        self.state.tokens += n_tokens
        self.state.flops += n_tokens * self.state.flops_per_token

    def _counted(self, tokens: Tokens) -> AbstractContextManager[object]:
        """The operations of the very first batch are counted; those of others follow from their tokens."""
        return nullcontext() if self.state.flops_per_token else _Counter(self.state, int(tokens.lengths.sum()))

    def _is_due(self) -> bool:
        return int(self.progress * self.training.validate) > self.state.validated or self.progress >= 1

    def _validate(self) -> Mapping[str, float]:
        state = self.state
        state.validated = int(self.progress * self.training.validate)
        found = self._score()
        steps = state.sums.pop("steps")
        row = {
            "step": state.step,
            "progress": round(min(self.progress, 1.0), 6),
            "epoch": round(state.cells / self.n_cells, 4),
            "cells": state.cells,
            "tokens": state.tokens,
            "teraflops": round(state.flops / 1e12, 4),
            "seconds": round(state.seconds, 2),
            "waited": round(state.waited, 2),
            "learning_rate": self.training.rate(self.progress),
            **{name: value / steps for name, value in state.sums.items()},
            **found,
        }
        state.sums = {}
        state.not_better = 0 if found["validation"] < state.best else state.not_better + 1
        state.best = min(state.best, found["validation"])
        self.log.add(row)
        return row

    @torch.no_grad()
    def _score(self) -> dict[str, float]:
        """Mean loss over the held-out cells, each batch weighted by its cells."""
        self.trainee.eval()
        sums: dict[str, float] = {}
        n_cells = 0
        for tokens in self.validation():
            with self._autocast():
                loss = self.trainee(batch_of(tokens, self.device))
            for name, value in {"validation": loss.total, **{f"validation_{n}": v for n, v in loss.parts.items()}}.items():
                sums[name] = sums.get(name, 0.0) + float(value) * tokens.n_cells
            n_cells += tokens.n_cells
        self.trainee.train()
        return {name: value / n_cells for name, value in sums.items()}

    def _autocast(self) -> AbstractContextManager[object]:
        wanted = PRECISIONS[self.training.precision]
        return nullcontext() if wanted is torch.float32 else torch.autocast(self.device.type, dtype=wanted)

    def _snapshot(self) -> None:
        state = {**asdict(self.state), "place": list(self.state.place), "rows": self.log.rows, "key": self.key}
        self.snapshots.put(self.state.step, Snapshot(tensors_of(self.trainee, self.optimiser), state))

    def _resume(self) -> None:
        found = self.snapshots.last()
        if found is None:
            return
        state = dict(found.state)
        if state.pop("key") != self.key:
            raise InputError(f"{self.snapshots.folder} holds a training with another config or corpus; name another folder")
        self.log.rows = state.pop("rows")
        self.state = State.of(state)
        restore(self.trainee, self.optimiser, found.tensors)


class _Counter(FlopCounterMode):
    """Counts the operations of a batch and keeps them per token."""

    def __init__(self, state: State, n_tokens: int) -> None:
        super().__init__(display=False)
        self._state, self._n_tokens = state, n_tokens

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._state.flops_per_token = self.get_total_flops() / max(self._n_tokens, 1)


def recompute_layers(net: nn.Module) -> None:
    """Let the transformer layers of a net keep their input only, and compute the rest once more on the way back."""
    for module in net.modules():
        if isinstance(module, Block):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False)  # type: ignore[method-assign]


def trained(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the net alone, of what a snapshot holds."""
    return {name.removeprefix("module/net."): tensor for name, tensor in state.items() if name.startswith("module/net.")}
