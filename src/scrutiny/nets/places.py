"""Where a net that names the token at each place expects the tokens of a cell to stand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .tokens import Batch

PLACES_AT_A_TIME = 1_024
"""Logits of so many places over the tokens of the cell are held at once."""

Logits = Callable[[Tensor, Tensor], Tensor]
"""(n, D) last hidden states, (k,) ids -> (n, k)."""


def expected_places(states: Tensor, batch: Batch, is_ranked: Tensor, ids: Tensor, logits: Logits) -> Tensor:
    """Expected place of each ranked token among those of its cell, (N,) from 0 to 1; 0 for tokens that are not ranked.

    At each of the n places of a cell the net gives chances to its n ranked tokens: a softmax over these alone. The chances that a token
    has over all places, brought to a sum of 1, are how likely it stands at each, and its expected place is the mean of
    (place - 1/2) / n under them.

    Parameters
    ----------
    states
        (N, D) last hidden states.
    is_ranked
        (N,) bool: the token is one of the ranked genes; a token occurs once in a cell.
    ids
        (N,) int64 tokens as they are, also where the net was shown a mask.
    """
    expected = torch.zeros(batch.n_tokens, dtype=torch.float32, device=batch.device)
    start = 0
    for length in batch.lengths:
        where = start + torch.nonzero(is_ranked[start : start + length]).squeeze(1)  # (n,)
        if len(where):
            expected[where] = _of_cell(states[where], ids[where], logits)
        start += length
    return expected


def _of_cell(states: Tensor, ids: Tensor, logits: Logits) -> Tensor:
    """(n, D), (n,) -> (n,). Chances of a token may be too small for float32 at every place, so they are kept relative to the largest."""
    n = len(ids)
    places = (torch.arange(n, device=states.device, dtype=torch.float32) + 0.5) / n
    largest = torch.full((n,), -torch.inf, device=states.device)
    total, moment = torch.zeros_like(largest), torch.zeros_like(largest)
    for at, some in zip(places.split(PLACES_AT_A_TIME), states.split(PLACES_AT_A_TIME), strict=True):
        chances = logits(some, ids).float().log_softmax(1)  # (k, n), logarithms
        risen = torch.maximum(largest, chances.amax(0))
        shrunk, relative = torch.exp(largest - risen), torch.exp(chances - risen)
        total, moment, largest = total * shrunk + relative.sum(0), moment * shrunk + at @ relative, risen
    return moment / total
