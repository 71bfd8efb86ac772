"""Speakers have no order: losses and answers that do not depend on which output stands for whom."""

from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

PADDING = -100.0


def permutation_free_loss(logits: Any, labels: Any) -> Any:
    """Binary cross entropy of speakers in frames, for each clip with the assignment that fits best.

    After Fujita et al. 2019, arXiv:1909.05952, section 2.2. The sum over speakers is smallest for one
    assignment, which is found exactly instead of by trying all orders.

    Args:
        logits: (batch, frames, speakers).
        labels: the same shape; 1 where a speaker speaks, 0 where not, `PADDING` in frames after a clip.

    Returns:
        The mean over clips of the mean over a clip's frames and speakers, in nats; ln 2 for logits of zero.
    """
    logits = logits.float()
    is_real = (labels[..., 0] != PADDING).float()
    n_frames = is_real.sum(dim=1).clamp(min=1.0)
    # -y log(p) - (1 - y) log(1 - p) is softplus(logit) - y * logit: every pair needs only the second term.
    kept = logits * is_real[..., None]
    spread = (torch.nn.functional.softplus(logits) * is_real[..., None]).sum(dim=1)
    agreement = torch.einsum("btk,btj->bkj", kept, labels.clamp(min=0.0))
    costs = (spread[:, :, None] - agreement) / n_frames[:, None, None]
    losses = [cost[_best_order(cost.detach().cpu().numpy())].mean() for cost in costs]
    return torch.stack(losses).mean()


def _best_order(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cheapest assignment; with costs that are no numbers, any."""
    return linear_sum_assignment(np.nan_to_num(cost, nan=0.0, posinf=1e9, neginf=-1e9))


def align(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The order of `after`'s speakers, in which they are those of `before`.

    Args:
        before: activity of the same frames heard in another window, (frames, speakers), 0 to 1.
        after: the same shape.
    """
    distance = np.abs(before[:, :, None] - after[:, None, :]).sum(axis=0)
    return linear_sum_assignment(distance)[1]
