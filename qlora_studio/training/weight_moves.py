"""How far an adapter has moved the weights of each layer it sits on."""

import math
import statistics
from collections.abc import Iterator
from typing import Any

import torch

from qlora_studio.contracts.certificate import LayerMove, WeightMoves
from qlora_studio.training.events import finite

N_LISTED = 10
_UNMOVED = 1e-7


def weight_moves(model: Any, adapter: str = "default") -> WeightMoves:
    """Return how far each adapted layer of a `PeftModel` has moved.

    For a LoRA layer that is the Frobenius norm of the scaled BA over that of the base weight (dequantised
    where it is stored in 4 bits); for a head trained in full, of new minus old over old.
    """
    with torch.no_grad():
        moves = list(_moves(model, adapter))
    known = [change for _, change in moves if finite(change) is not None]
    ranked = sorted(moves, key=lambda move: float("-inf") if math.isnan(move[1]) else -move[1])
    return WeightMoves(
        n_layers=len(moves),
        n_unmoved=sum(change <= _UNMOVED for change in known),
        n_not_finite=len(moves) - len(known),
        median=statistics.median(known) if known else None,
        largest=max(known, default=None),
        layers=[LayerMove(name=name, change=finite(change)) for name, change in ranked[:N_LISTED]],
    )


def _moves(model: Any, adapter: str) -> Iterator[tuple[str, float]]:
    from peft.tuners.lora import LoraLayer
    from peft.utils import ModulesToSaveWrapper

    for full_name, module in model.base_model.model.named_modules():
        if isinstance(module, LoraLayer) and adapter in module.lora_A:
            yield full_name, _lora_change(module, adapter)
        elif isinstance(module, ModulesToSaveWrapper) and adapter in module.modules_to_save:
            new = dict(module.modules_to_save[adapter].named_parameters())
            old = dict(module.original_module.named_parameters())
            moved = sum(float((new[n].float() - old[n].float()).norm() ** 2) for n in old)
            size = sum(float(old[n].float().norm() ** 2) for n in old)
            yield full_name, (moved / max(size, 1e-24)) ** 0.5


def _lora_change(layer: Any, adapter: str) -> float:
    a, b = layer.lora_A[adapter].weight.float(), layer.lora_B[adapter].weight.float()
    # ‖BA‖² is the sum of (BᵀB)·(AAᵀ): two small matrices instead of one as large as the layer's.
    squared = float(((b.T @ b) * (a @ a.T)).sum())
    moved = abs(layer.scaling[adapter]) * abs(squared) ** 0.5  # rounding can put 0 a little below
    return moved / max(float(base_weight(layer).norm()), 1e-12)


def base_weight(layer: Any) -> torch.Tensor:
    """Return the weight under a LoRA layer in float32, dequantised where it is in 4 bits."""
    weight = layer.get_base_layer().weight
    if weight.dtype is not torch.uint8:
        return weight.detach().float()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, weight.quant_state).float()
