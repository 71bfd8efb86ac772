"""The frozen base in 4 bits (NF4, Dettmers et al. 2023), on CUDA and on plain CPUs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qlora_studio.contracts.spec import QLoraSpec
from qlora_studio.training.families import Family

if TYPE_CHECKING:
    import torch
    from torch import nn


def compute_dtype(spec: QLoraSpec, device: str) -> "torch.dtype":
    """The type 4-bit weights are multiplied in.

    "auto" is float32 on a CPU: most have no fast bfloat16 and are two to three times slower with it.
    """
    import torch

    if spec.compute_dtype != "auto":
        return getattr(torch, spec.compute_dtype)
    if device == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


_MULTIPLE = 32  # of inputs and of outputs
_BLOCK = 64  # values that share a scale: on CPUs a row of other lengths comes back wrongly


def skipped_layers(model_class: Any, config: Any, barred: Sequence[str]) -> list[str]:
    """Return what the library must keep out of 4 bits: `barred`, and names that it would not know by that.

    It knows a layer by the end of its name, so `lm_heads` says nothing to it of `decoder.lm_heads.0`. The
    others are the linear layers whose rows are no whole blocks of 64 values: on CPUs they would come back
    from 4 bits wrongly (`docs/decisions/0003-four-bit-widths.md`). Makes the model without memory.
    """
    import torch
    from transformers.quantizers.quantizers_utils import should_convert_module

    with torch.device("meta"):
        model = model_class(config)
    linear = [(name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    inner = [n for n, _ in linear if set(barred) & set(n.split(".")) and should_convert_module(n, [*barred])]
    free = [(name, m) for name, m in linear if not set(barred) & set(name.split("."))]
    odd = [name for name, m in free if m.in_features % _BLOCK or m.out_features % _MULTIPLE]
    return [*barred, *inner, *odd]


def quantization_config(
    spec: QLoraSpec, family: Family, device: str, *, bits: int, model_class: Any, config: Any
) -> Any | None:
    """Return the `BitsAndBytesConfig` of a job, or None for 16 and 32-bit LoRA.

    The skip list replaces the library's own, which knows tied heads only: a CTC head in 4 bits could not be
    trained.
    """
    if bits != 4:
        return None
    from transformers import BitsAndBytesConfig

    keeps_encoder = spec.whole_encoder and family.decoder is not None
    barred = (*family.heads, *family.untouchable, *(("encoder",) if keeps_encoder else ()))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=spec.quant_type,
        bnb_4bit_use_double_quant=spec.double_quant,
        bnb_4bit_compute_dtype=compute_dtype(spec, device),
        llm_int8_skip_modules=skipped_layers(model_class, config, barred),
    )


def quantised_layers(model: "nn.Module") -> dict[str, Any]:
    """Return the model's 4-bit layers by name."""
    from bitsandbytes.nn.modules import Linear4bit

    return {n: m for n, m in model.named_modules() if isinstance(m, Linear4bit)}


def keep_weights_unpacked(model: "nn.Module") -> None:
    """Stop 4-bit layers from repacking themselves for bfloat16 CPUs.

    On such CPUs an evaluation packs the weights in place and never unpacks them, after which the backward
    pass through a frozen layer gives no gradient, silently.
    """
    for layer in quantised_layers(model).values():
        layer.support_avx512bf16_for_cpu = False
