"""The loss of speaker diarization, whatever order its speakers come in."""

import itertools
import math

import pytest
import torch

from qlora_studio.training.permutations import PADDING, permutation_free_loss


def test_the_loss_is_that_of_the_best_order_of_speakers() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 7, 3, generator=rng)
    labels = (torch.rand(3, 7, 3, generator=rng) > 0.5).float()
    expected = [
        min(
            float(torch.nn.functional.binary_cross_entropy_with_logits(clip, truth[:, list(order)]))
            for order in itertools.permutations(range(3))
        )
        for clip, truth in zip(logits, labels, strict=True)
    ]
    assert float(permutation_free_loss(logits, labels)) == pytest.approx(sum(expected) / 3, abs=1e-6)
    assert permutation_free_loss(logits, labels[..., [2, 0, 1]]) == permutation_free_loss(logits, labels)


def test_padded_frames_are_not_learnt() -> None:
    logits = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels = torch.ones(2, 6, 2)
    labels[1, 4:] = PADDING
    loss = permutation_free_loss(logits, labels)
    alone = [
        permutation_free_loss(logits[:1], labels[:1]),
        permutation_free_loss(logits[1:, :4], labels[1:, :4]),
    ]
    assert float(loss.detach()) == pytest.approx(float(sum(alone).detach()) / 2, abs=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[1, 4:].any()
    assert logits.grad[1, :4].all()


def test_knowing_nothing_costs_ln_2_and_a_loss_that_is_no_number_stays_one() -> None:
    labels = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    assert float(permutation_free_loss(torch.zeros(1, 2, 2), labels)) == pytest.approx(math.log(2))
    assert torch.isnan(permutation_free_loss(torch.full((1, 2, 2), float("nan")), labels))
