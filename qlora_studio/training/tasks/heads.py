"""Heads on top of an encoder, made anew for a dataset, and what is switched off for steady training."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

_MASK_NEEDS_S = 0.5


def replace_head(model: Any, classes: list[str]) -> None:
    """Put a fresh last layer on the model, drawn as the library draws it; AST keeps its norm before it."""
    config = model.config
    old = getattr(*head_of(model))
    fresh = torch.nn.Linear(old.in_features, len(classes)).to(old.weight.device, torch.float32)
    torch.nn.init.normal_(fresh.weight, std=getattr(config, "initializer_range", None) or config.init_std)
    torch.nn.init.zeros_(fresh.bias)
    setattr(*head_of(model), fresh)
    name_classes(model, classes)


def head_of(model: Any) -> tuple[Any, str]:
    """The module that holds the last layer, and the layer's name in it."""
    return (model.classifier, "dense") if hasattr(model.classifier, "dense") else (model, "classifier")


def labels_of(config: Any) -> list[str]:
    """The classes of a model in the order of its outputs."""
    return [label for _, label in sorted(config.id2label.items())]


def name_classes(model: Any, classes: list[str]) -> None:
    """Tell the model what its outputs stand for."""
    model.config.id2label = dict(enumerate(classes))  # this sets num_labels too
    model.config.label2id = {label: index for index, label in enumerate(classes)}
    if hasattr(model, "num_labels"):
        model.num_labels = len(classes)


def outputs_on_disk(model_path: Path) -> int | None:
    """How many outputs a frame classifier's own head has, by its weights; None if they hold no such head."""
    for path in sorted(model_path.glob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            names = set(file.keys())
            if "projector.weight" in names:  # a head for whole clips
                return None
            if "classifier.weight" in names:
                return int(file.get_slice("classifier.weight").get_shape()[0])
    return None


def make_steady(config: Any, *, shortest_s: float) -> None:
    """No random layers left out, no masks where the library would refuse short clips."""
    for name in ("layerdrop", "encoder_layerdrop", "speech_encoder_layerdrop"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    # A mask in time spans ten frames of 20 ms; a batch without that many is an error.
    if shortest_s < _MASK_NEEDS_S and hasattr(config, "apply_spec_augment"):
        config.apply_spec_augment = False
