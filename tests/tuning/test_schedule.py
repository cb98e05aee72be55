"""How fast a training learns at each point, and tables [training] that cannot be."""

import math

import pytest
import torch

from scrutiny.core.errors import InputError
from scrutiny.tuning.schedule import Training, optimiser


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    training = Training(steps=1, learning_rate=2.0, warmup=0.2, last_rate=0.1)
    assert training.rate(0.1) == pytest.approx(1.0)
    assert training.rate(0.2) == pytest.approx(2.0)
    assert training.rate(0.6) == pytest.approx(2.0 * (0.1 + 0.9 / 2))  # half way down
    assert training.rate(0.4) == pytest.approx(2.0 * (0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2))
    assert training.rate(1.0) == training.rate(1.3) == pytest.approx(0.2)


def test_the_first_step_learns_something():
    assert Training(steps=1, learning_rate=2.0, warmup=0.2).rate(0.0) == pytest.approx(0.02)
    assert Training(steps=1, learning_rate=2.0, warmup=0.0).rate(0.0) == pytest.approx(2.0)
    assert Training(steps=1, learning_rate=2.0, warmup=1.0).rate(1.0) == pytest.approx(2.0)  # nothing is left to fall


def test_vectors_do_not_decay_and_what_is_not_trained_is_left_alone():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2), torch.nn.Linear(2, 2).requires_grad_(False))
    groups = optimiser(module, Training(steps=1, decay=0.5)).param_groups
    assert [(group["weight_decay"], [p.shape for p in group["params"]]) for group in groups] == [(0.5, [(2, 3)]), (0.0, [(2,), (2,), (2,)])]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "epochs, steps or teraflops, one of them; found none"),
        ({"steps": 3, "epochs": 1.0}, "found {'epochs': 1.0, 'steps': 3}"),
        ({"steps": -1}, "one of them; found {'steps': -1}"),
        ({"steps": 1, "precision": "float16"}, "the precision is 'float16'; expected one of float32, bfloat16"),
        ({"steps": 1, "learning_rate": 0.0}, "learning_rate is 0.0; expected more than 0"),
        ({"steps": 1, "accumulate": 0}, "accumulate is 0; expected more than 0"),
        ({"steps": 1, "clip": -1.0}, "clip is -1.0; expected at least 0"),
        ({"steps": 1, "warmup": 1.1}, "warmup is 1.1; expected a share, 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Training(**fields)
