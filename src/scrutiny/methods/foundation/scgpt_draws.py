"""The draws of scGPT's tokeniser: where a value falls among tied bins, and which genes of a long cell are shown."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from scrutiny.data.draws import cell_generator
from scrutiny.nets.scgpt import ScgptConfig


class CellDraws(Protocol):
    """The draws of one cell, asked for in this order."""

    def uniform(self, n: int) -> NDArray[np.float64]:
        """(n,) in [0, 1)."""
        ...

    def sample(self, n: int, k: int) -> NDArray[np.int64]:
        """(k,) different numbers below n, k <= n."""
        ...


class OwnDraws:
    """Draws that depend on (seed, cell id) alone."""

    def __init__(self, seed: int, cell_id: str) -> None:
        self.seed, self.cell_id = seed, cell_id

    @cached_property
    def _generator(self) -> np.random.Generator:
        return cell_generator(self.seed, self.cell_id)

    def uniform(self, n: int) -> NDArray[np.float64]:
        return self._generator.random(n)

    def sample(self, n: int, k: int) -> NDArray[np.int64]:
        return np.sort(self._generator.choice(n, k, replace=False, shuffle=False))  # the net has no positions: any order will do


class OfficialStream:
    """The draws of all cells of a file in its order, as the official ``embed_data`` makes them after both global generators were seeded.

    Bins are dealt with numpy's generator, genes are sampled with that of PyTorch: two streams that do not touch. Before the first cell
    the official code draws from PyTorch's: random weights, which the checkpoint then replaces, and a seed for the data loader. So a sample
    depends on the architecture too. This is so with one process (``num_workers=0``) and the layers of `torch.nn`; workers, and the layers
    of flash-attn, draw otherwise.
    """

    def __init__(self, seed: int, config: ScgptConfig) -> None:
        self._numpy = np.random.RandomState(seed)
        self._torch = torch.Generator().manual_seed(seed)
        _draw_weights(config, self._torch)
        torch.empty((), dtype=torch.int64).random_(generator=self._torch)  # the data loader's

    def uniform(self, n: int) -> NDArray[np.float64]:
        return self._numpy.random_sample(n)

    def sample(self, n: int, k: int) -> NDArray[np.int64]:
        return torch.randperm(n, generator=self._torch)[:k].numpy()


def _draw_weights(config: ScgptConfig, generator: torch.Generator) -> None:
    """Draw what the constructor of the official model draws as ``embed_data`` calls it, in its order, and forget it."""
    d, d_hid = config.embsize, config.d_hid

    def linear(n_out: int, n_in: int, *, bias: bool = True) -> None:
        torch.empty(n_out, n_in).uniform_(generator=generator)
        if bias:
            torch.empty(n_out).uniform_(generator=generator)

    def outer(*widths: int) -> None:
        for n_in, n_out in zip(widths, widths[1:], strict=False):
            linear(n_out, n_in)

    torch.empty(config.n_words, d).normal_(generator=generator)  # genes
    outer(1, d, d)  # values
    outer(d, d)  # attention: what comes out of it, then queries, keys and values
    linear(3 * d, d, bias=False)
    outer(d, d_hid, d)  # one layer is drawn, the others are its copies
    outer(d, d, d, 1)  # decoder
    outer(*[d] * config.n_layers_cls, 1)  # cls_decoder of one class
    outer(d, d)  # mvc_decoder
    linear(d, d, bias=False)
    torch.empty(config.n_words, d).uniform_(generator=generator)  # genes once more
