"""The training loop: steps of AdamW over the stream of batches, validated and snapshotted on the way, resumed bit for bit.

Bit for bit holds on a processor, with as many threads, processes and the same PyTorch as before; on a GPU some sums are made in any order.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from scrutiny.core.errors import InputError
from scrutiny.nets.cellplm import FlowBlock
from scrutiny.nets.inference import PRECISIONS
from scrutiny.nets.layers import Block
from scrutiny.nets.performer import PerformerBlock
from scrutiny.nets.tokens import Batch, Tokens, batch_of

from .curves import Log
from .distributed import averaging, summed
from .feed import Feed, Place, Step
from .objective import Loss, Objective
from .schedule import Training, optimiser
from .snapshots import Snapshot, Snapshots, restore, restore_optimiser, tensors_of
from .subject import Subject

log = logging.getLogger(__name__)


class Report(NamedTuple):
    """How far a training is: the share that is done, the row of the log where one was just written."""

    progress: float
    step: int
    seconds: float
    loss: float
    row: Mapping[str, float] | None = None


@dataclass
class State:
    """Plain values of a training that is under way, the same in all its processes but for seconds.

    Attributes
    ----------
    best, best_step, not_better
        Lowest validation loss, the step that had it, and validations since.
    validated
        Validations that the progress made due so far.
    sums
        Of the values of each step, since the last validation.
    """

    step: int = 0
    place: Place = Place()
    cells: int = 0
    tokens: int = 0
    flops: float = 0.0
    flops_per_token: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    best: float = math.inf
    best_step: int = 0
    not_better: int = 0
    validated: int = 0
    ended: bool = False
    sums: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> State:
        return cls(**{**plain, "place": Place(*plain["place"])})


class Trainee(nn.Module):
    """Net and objective as one module, so that one call, which other processes can be told of, gives the loss.

    Parameters
    ----------
    trained
        Names of the net's weights that are trained; None: all. Statistics of a net that is not trained as a whole stay as they are.
    """

    def __init__(self, subject: Subject, objective: Objective, trained: Collection[str] | None = None) -> None:
        super().__init__()
        self.net, self.objective = subject.net, objective
        self.subject, self.whole = subject, trained is None
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(self.whole or name in trained)  # type: ignore[operator]
        self.frozen = frozenset() if trained is None else frozenset(f"net.{name}" for name in self.net.state_dict() if name not in trained)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.net.train(mode and self.whole)
        return self

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
    device
        Of this process; where the feed is of several, they have met (`scrutiny.tuning.distributed.joined`) and see the same folder.
    tell
        Is told of each step, in the first process alone.
    trained
        Names of the net's weights that are trained; None: all. Of the others nothing is computed on the way back that need not be, and
        nothing is kept in snapshots.
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
        trained: Collection[str] | None = None,
    ) -> None:
        self.subject, self.training, self.feed = subject, training, feed
        self.n_cells, self.validation, self.key, self.device, self.tell = n_cells, validation, key, device, tell
        self.trainee = Trainee(subject, objective, trained).to(device).train()
        self.optimiser = optimiser(self.trainee, training)
        self.snapshots, self.log = Snapshots(folder / "snapshots"), Log(folder / "log.csv")
        self.state = State()
        if training.checkpointing:
            recompute_layers(subject.net)
        self._resume()
        self.module = self.trainee if feed.world == 1 else averaging(self.trainee, device)

    def run(self) -> State:
        """Train to the end; the net then has the last weights or, where there is `Training.patience`, the best."""
        if not self.state.ended:
            self._train()
        if self.training.patience:
            self._over_all({"here": 1.0})  # not before the first process has written them
            restore(self.trainee, self.snapshots.at(self.state.best_step).tensors, self.trainee.frozen)
        return self.state

    @property
    def untrained(self) -> list[str]:
        """Names of the net's weights that no gradient has reached: heads that the objective does not use."""
        return [name for name, parameter in self.subject.net.named_parameters() if parameter not in self.optimiser.state]

    def _train(self) -> None:
        state, patience = self.state, self.training.patience
        began = time.perf_counter() - state.seconds
        last_snapshot = waiting = time.perf_counter()
        for step in self.feed.steps(state.place):
            state.waited += time.perf_counter() - waiting
            loss = self._step(step)
            state.seconds = time.perf_counter() - began
            row = self._validate() if self._is_due() else None
            state.ended = self.progress >= 1 or 0 < patience <= state.not_better
            if self.feed.rank == 0:
                self.tell(Report(self.progress, state.step, state.seconds, loss, row))
            is_best = bool(patience) and state.best_step == state.step
            if state.ended or is_best or time.perf_counter() - last_snapshot >= self.training.snapshot_seconds:
                self._snapshot()
                last_snapshot = time.perf_counter()
            if state.ended:
                return
            waiting = time.perf_counter()

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
        """One step of the optimiser; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.rate(self.progress)
        counter = None if self.state.flops_per_token else operations()
        with counter or nullcontext():
            losses = self._backward(step.batches)
        norm = float(nn.utils.clip_grad_norm_(self.trainee.parameters(), self.training.clip or math.inf))
        if not math.isfinite(norm):
            raise InputError(f"the gradient of step {self.state.step} is {norm}; take a lower learning_rate or float32")
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._count(step, float(counter.get_total_flops()) if counter else 0.0)
        self.trainee.objective.after_step(self.subject, self.progress)
        return self._add(losses, norm)

    def _backward(self, batches: Sequence[Tokens]) -> list[Loss]:
        """Gradients of the mean loss over all batches, those of the other processes included."""
        losses = []
        for number, tokens in enumerate(batches, 1):
            is_last = number == len(batches)
            with nullcontext() if is_last or self.feed.world == 1 else self.module.no_sync():
                with self._autocast():
                    loss = self.module(batch_of(tokens, self.device))
                (loss.total / len(batches)).backward()
            losses.append(Loss(loss.total.detach(), {name: value.detach() for name, value in loss.parts.items()}))
        return losses

    def _count(self, step: Step, flops: float) -> None:
        """Operations are counted in the very first step; those of others follow from their tokens."""
        state = self.state
        found = self._over_all({"tokens": sum(int(tokens.lengths.sum()) for tokens in step.batches), "flops": flops})
        state.flops_per_token = state.flops_per_token or found["flops"] / max(found["tokens"], 1)
        state.tokens += int(found["tokens"])
        state.flops += found["tokens"] * state.flops_per_token
        state.cells += step.n_cells
        state.step += 1
        state.place = step.after

    def _add(self, losses: Sequence[Loss], norm: float) -> float:
        """Keep what the step found for the next row of the log; returns the loss, the mean over all batches."""
        table = {"train": [loss.total for loss in losses]}
        table |= {f"train_{name}": [loss.parts[name] for loss in losses] for name in losses[0].parts}
        sums = self._over_all({name: float(torch.stack(values).float().sum()) for name, values in table.items()})
        means = {name: value / self.feed.batches_per_step for name, value in sums.items()}
        for name, value in {"steps": 1.0, "gradient_norm": norm, **means}.items():
            self.state.sums[name] = self.state.sums.get(name, 0.0) + value
        return means["train"]

    def _over_all(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """Sums over all processes."""
        return values if self.feed.world == 1 else summed(values, self.device)

    def _is_due(self) -> bool:
        return int(self.progress * self.training.validate) > self.state.validated or self.progress >= 1

    def _validate(self) -> Mapping[str, float]:
        """The row of the log, which the first process adds; the others hear the loss from it."""
        state = self.state
        state.validated = int(self.progress * self.training.validate)
        found = self._score() if self.feed.rank == 0 else {}
        validation = self._over_all({"validation": found.get("validation", 0.0)})["validation"]
        is_better = validation < state.best
        state.best, state.best_step = (validation, state.step) if is_better else (state.best, state.best_step)
        state.not_better = 0 if is_better else state.not_better + 1
        n_steps = state.sums.pop("steps")
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
            **{name: value / n_steps for name, value in state.sums.items()},
            **found,
        }
        state.sums = {}
        if self.feed.rank == 0:
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
        if not n_cells:
            raise InputError("no cells are held out, so that nobody would know when to stop; hold some out of the corpus")
        return {name: value / n_cells for name, value in sums.items()}

    def _autocast(self) -> AbstractContextManager[object]:
        wanted = PRECISIONS[self.training.precision]
        return nullcontext() if wanted is torch.float32 else torch.autocast(self.device.type, dtype=wanted)

    def _snapshot(self) -> None:
        if self.feed.rank:
            return
        state = {**asdict(self.state), "place": list(self.state.place), "rows": self.log.rows, "key": self.key, "under": self._conditions()}
        keep = self.state.best_step if self.training.patience else None
        tensors = tensors_of(self.trainee, self.optimiser, self.trainee.frozen)
        self.snapshots.put(self.state.step, Snapshot(tensors, state), keep=keep)

    def _resume(self) -> None:
        found = self.snapshots.last()
        step = found.state["step"] if found else 0
        if self._over_all({"step": step})["step"] != step * self.feed.world:
            raise InputError(f"the processes do not see the same snapshots in {self.snapshots.folder}; they need a folder that all share")
        if found is None:
            return
        state = dict(found.state)
        self._check(state.pop("key"), state.pop("under"))
        self.log.rows = state.pop("rows")
        self.state = State.of(state)
        restore(self.trainee, found.tensors, self.trainee.frozen)
        restore_optimiser(self.trainee, self.optimiser, found.tensors)

    def _conditions(self) -> dict[str, Any]:
        """What the key does not know of: the stream has so many batches a step, and all of it changes the last digits."""
        return {
            "batches a step": self.feed.batches_per_step,
            "processes": self.feed.world,
            "threads": torch.get_num_threads(),
            "device": self.device.type,
            "torch": torch.__version__,
        }

    def _check(self, key: str, before: Mapping[str, Any]) -> None:
        """Raise InputError if a snapshot is of another training; warn where it goes on under other conditions."""
        now, folder = self._conditions(), self.snapshots.folder
        if key != self.key:
            raise InputError(f"{folder} holds a training with another config or corpus; name another folder")
        changed = [f"{name}: {before[name]} before, {now[name]} now" for name in now if before[name] != now[name]]
        if before["batches a step"] != now["batches a step"]:
            raise InputError(f"{folder} holds another training ({changed[0]}); accumulate times processes must be the same")
        if changed:
            log.warning("going on under other conditions, so that the last digits will not be those of one run: %s", "; ".join(changed))


def operations() -> FlopCounterMode:
    """A counter of operations that knows attention on processors too, which PyTorch's leaves out."""
    of_processors = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda *shapes, **_: sdpa_flop_count(*shapes[:3]),
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda *shapes, **_: sdpa_backward_flop_count(*shapes[:4]),
    }
    return FlopCounterMode(display=False, custom_mapping=of_processors)


def recompute_layers(net: nn.Module) -> None:
    """Let the transformer layers of a net keep their input only, and compute the rest once more on the way back.

    Raises
    ------
    InputError
        If it has none.
    """
    layers = [module for module in net.modules() if isinstance(module, (Block, PerformerBlock, FlowBlock))]
    if not layers:
        raise InputError(f"{type(net).__name__} has no transformer layers; leave out checkpointing")
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
