"""Where the adapter sits."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlora_studio.contracts.spec import QLoraSpec
from qlora_studio.training import start
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.families import Family

if TYPE_CHECKING:
    from torch import nn


def find_targets(model: "nn.Module", choice: str | list[str], family: Family) -> list[str]:
    """Return the full names of the layers to adapt.

    Args:
        choice: "auto", "attention", "all-linear", "decoder", or names of layers (full, or last parts such as
            `q_proj`).

    Raises:
        ModelNotUsable: a name fits no linear layer of the model.
    """
    linear = adaptable_layers(model, family)
    if choice == "decoder":
        if not family.decoder:
            raise ModelNotUsable("This model has no decoder to adapt by itself; choose auto.")
        linear = [layer for layer in linear if family.decoder in layer.split(".")]
    if choice in ("auto", "decoder"):
        choice = list(family.auto) if family.auto else "all-linear"
    if choice == "attention" and not family.attention:
        raise ModelNotUsable("This model's attention cannot be adapted; choose auto or all-linear.")
    if choice == "all-linear":
        return linear
    wanted = list(family.attention) if choice == "attention" else list(choice)
    missing = [name for name in wanted if not any(_fits(layer, name) for layer in linear)]
    # A family lists every name its attention may have; a user's own list must fit in full.
    if missing and (choice != "attention" or len(missing) == len(wanted)):
        ends = ", ".join(sorted({layer.rsplit(".", 1)[-1] for layer in linear}))
        raise ModelNotUsable(f"The model has no layer named {', '.join(missing)}. It has: {ends}.")
    return [layer for layer in linear if any(_fits(layer, name) for name in wanted)]


def adaptable_layers(model: "nn.Module", family: Family) -> list[str]:
    """Return the names of all linear layers that can carry an adapter, in the model's order."""
    from torch import nn

    barred = {*family.heads, *family.untouchable, *family.frozen}
    names = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return [name for name in names if not barred & set(name.split("."))]


def _fits(layer: str, name: str) -> bool:
    return layer == name or layer.endswith(f".{name}")


def add_adapter(
    model: "nn.Module", spec: QLoraSpec, family: Family, *, model_name: str, start_path: Path | None = None
) -> Any:
    """Freeze the base and put an adapter on it; returns the `PeftModel`.

    Args:
        model_name: what `adapter_config.json` calls the base model.
        start_path: the folder of an adapter to train on; a fresh one without.

    Raises:
        ModelNotUsable: a name fits no linear layer of the model, or the adapter to train on does not fit it.
    """
    from peft import get_peft_model, prepare_model_for_kbit_training

    config = (
        _config(model, spec, family)
        if start_path is None
        else start.config_of(start_path, dropout=spec.dropout)
    )
    if spec.bits == 4:
        # Freezes, and raises what stayed in 16 bits to 32. Left to itself it also turns checkpointing on.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        if start_path is None:
            raise
        raise ModelNotUsable(
            "The adapter that this job starts from has other layers than this model."
        ) from error
    if start_path is not None:
        start.load_weights(adapted, start_path)
    adapted.peft_config["default"].base_model_name_or_path = model_name
    freeze_batch_norms(adapted)
    return adapted


def _config(model: "nn.Module", spec: QLoraSpec, family: Family) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]  # peft scales by it and takes any number
        lora_dropout=spec.dropout,
        target_modules=find_targets(model, spec.target_modules, family),
        modules_to_save=list(family.heads) if family.trains_head else None,
        bias="none",
    )


def freeze_batch_norms(model: "nn.Module") -> None:
    """Keep batch norms on their stored statistics.

    In training mode they would drift away from the base model by something no adapter file holds. The trainer
    puts the whole model into training mode at every step, so each norm leaves it again before it is used.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(_leave_training_mode)


def _leave_training_mode(norm: "nn.Module", _inputs: Any) -> None:
    norm.train(False)
