"""Cross-entropy with its gradient on the way: PyTorch's values and gradients, whatever the pieces."""

import pytest
import torch
import torch.nn.functional as F

from scrutiny.tuning import cross_entropy as module
from scrutiny.tuning.cross_entropy import cross_entropy


@pytest.mark.parametrize("at_a_time", [1, 60, 1 << 18])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-3)])
def test_values_and_gradients_are_those_of_pytorch(monkeypatch, at_a_time, dtype, tolerance):
    monkeypatch.setitem(module.AT_A_TIME, "cpu", at_a_time)
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(11, 25, generator=generator)).to(dtype).requires_grad_()
    true = torch.randint(25, (11,), generator=generator)
    weights = torch.rand(11, generator=generator)
    found = cross_entropy(logits, true)
    expected = F.cross_entropy(logits.float(), true, reduction="none")
    torch.testing.assert_close(found.losses, expected)
    assert found.right.tolist() == (logits.float().argmax(1) == true).tolist()
    (gradient,) = torch.autograd.grad((found.losses * weights).sum(), logits)
    (of_pytorch,) = torch.autograd.grad((expected * weights).sum(), logits)
    assert gradient.dtype is dtype
    torch.testing.assert_close(gradient, of_pytorch, rtol=8 * tolerance, atol=tolerance)


def test_numerical_gradient():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    true = torch.tensor([0, 4, 2])
    (found,) = torch.autograd.grad(cross_entropy(logits, true).losses.sum(), logits)
    torch.testing.assert_close(found, torch.softmax(logits, 1).detach() - F.one_hot(true, 5), atol=1e-6, rtol=1e-5)  # by hand


def test_nothing_to_find_gives_nothing():
    logits = torch.empty(0, 7, requires_grad=True)
    found = cross_entropy(logits, torch.empty(0, dtype=torch.int64))
    found.losses.sum().backward()
    assert found.losses.shape == found.right.shape == (0,) and logits.grad.shape == (0, 7)
