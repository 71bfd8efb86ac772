"""4-bit weights unpacked once instead of at every word."""

from typing import Any

import psutil
import torch
from bitsandbytes.functional import dequantize_4bit

from qlora_studio.training.quantize import quantised_layers

_MEMORY_SHARE = 0.5  # of what is free


def unpack_if_it_fits(model: Any) -> bool:
    """Put plain layers of the same values in place of the 4-bit ones, if memory allows; returns whether.

    On a CPU a 4-bit layer is unpacked for each call, and a model that writes calls each layer for every word.
    The values stay those of 4 bits, which an adapter was trained on.
    """
    layers = quantised_layers(model)
    n_bytes = sum(4 * layer.in_features * layer.out_features for layer in layers.values())
    if not layers or n_bytes > _MEMORY_SHARE * psutil.virtual_memory().available:
        return False
    for name, packed in layers.items():
        model.set_submodule(name, _plain(packed))
    return True


def _plain(packed: Any) -> torch.nn.Linear:
    weight = dequantize_4bit(packed.weight.data, packed.weight.quant_state).to(torch.float32)
    plain = torch.nn.Linear(packed.in_features, packed.out_features, bias=False, device="meta")
    plain.weight = torch.nn.Parameter(weight, requires_grad=False)
    plain.bias = packed.bias
    return plain.eval()
