"""Which layers can be stored in 4 bits and take a LoRA adapter, read from tensor names and shapes."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qlora_studio.contracts.enums import Task
from qlora_studio.modelfiles.families import Family
from qlora_studio.modelfiles.safetensors_header import TensorInfo

# What sounds and speakers are told apart without: the part that writes, and what only pre-training used.
_LEFT_OUT = {"decoder", "proj_out", "lm_head", "quantizer", "project_q", "project_hid"}


@dataclass(frozen=True)
class LinearKind:
    """Linear layers of the same name and size: `n_layers` of them, each `n_out` rows by `n_in` columns."""

    name: str
    n_in: int
    n_out: int
    n_layers: int

    @property
    def n_parameters(self) -> int:
        return self.n_in * self.n_out * self.n_layers


@dataclass(frozen=True)
class LayerCard:
    """What the weights are made of.

    Attributes:
        n_parameters: all of them, tied copies not counted twice.
        linear: the layers that can take LoRA; those of fitting shapes go into 4 bits (`is_packed`).
        n_frozen_parameters: of linear layers that take none.
        presets: the names behind "auto", "attention", "all-linear", and "decoder" where there is one.
    """

    n_parameters: int
    linear: tuple[LinearKind, ...]
    presets: dict[str, list[str]]
    n_frozen_parameters: int = 0

    @property
    def n_linear_parameters(self) -> int:
        """Parameters of linear layers; `count_packed` tells how many of them QLoRA stores in 4 bits."""
        return sum(kind.n_parameters for kind in self.linear) + self.n_frozen_parameters

    @property
    def targets(self) -> list[str]:
        return self.presets["all-linear"]

    def as_details(self) -> dict[str, Any]:
        """The card in plain values, as kept in the database."""
        return {
            "n_linear_parameters": self.n_linear_parameters,
            "n_frozen_parameters": self.n_frozen_parameters,
            "linear": [asdict(kind) for kind in self.linear],
            "presets": self.presets,
        }


def describe_layers(
    tensors: Mapping[str, TensorInfo], family: Family, task: Task = Task.SPEECH_TO_TEXT
) -> LayerCard:
    """Sort the tensors of a model into linear layers and the rest; those that a task leaves out don't count.

    A linear layer is a two-dimensional `….weight` that is neither a head nor an embedding.
    """
    counts: Counter[tuple[str, int, int]] = Counter()
    n_frozen = 0
    if task in family.new_heads:
        tensors = {name: tensor for name, tensor in tensors.items() if not _LEFT_OUT & set(name.split("."))}
    for name, tensor in tensors.items():
        if not name.endswith(".weight") or len(tensor.shape) != 2:
            continue
        parts = name.split(".")
        if any(part in family.not_adapted for part in parts):
            continue
        n_out, n_in = tensor.shape
        if any(part in family.frozen for part in parts):
            n_frozen += n_out * n_in
            continue
        counts[(_loaded_name(name, family), n_in, n_out)] += 1
    linear = tuple(LinearKind(name, n_in, n_out, n) for (name, n_in, n_out), n in sorted(counts.items()))
    names = sorted({kind.name for kind in linear})
    attention = [name for name in family.attention if name in names]
    return LayerCard(
        n_parameters=sum(t.n_elements for n, t in tensors.items() if not _is_tied_copy(n, tensors, family)),
        linear=linear,
        presets=_presets(family, names, attention, task),
        n_frozen_parameters=n_frozen,
    )


def is_packed(n_in: int, n_out: int) -> bool:
    """Whether QLoRA stores a layer of this shape in 4 bits, as `training.quantize` decides it."""
    return not n_in % 64 and not n_out % 32


def count_packed(layers: Mapping[str, Any]) -> int:
    """Count the parameters that QLoRA stores in 4 bits, from a card's `as_details()`."""
    kinds = layers.get("linear") or []
    odd = sum(k["n_in"] * k["n_out"] * k["n_layers"] for k in kinds if not is_packed(k["n_in"], k["n_out"]))
    return int(layers.get("n_linear_parameters") or 0) - odd


def count_encoder(layers: Mapping[str, Any]) -> int:
    """Count a Whisper's linear parameters that are its encoder's, from a card's `as_details()`.

    Encoder and decoder have as many layers; one of the decoder's attends twice.
    """
    kinds = layers.get("linear") or []
    sizes = ((k["name"], k["n_in"] * k["n_out"] * k["n_layers"]) for k in kinds)
    return sum(size // (2 if name in ("fc1", "fc2") else 3) for name, size in sizes)


def _presets(family: Family, names: list[str], attention: list[str], task: Task) -> dict[str, list[str]]:
    auto = _auto(family, names, task)
    presets = {"auto": auto, "attention": attention, "all-linear": names}
    has_decoder = family.model_type == "whisper" and task is Task.SPEECH_TO_TEXT
    return presets | ({"decoder": auto} if has_decoder else {})


def _loaded_name(name: str, family: Family) -> str:
    """The last part of a layer's name, as the loaded model calls it."""
    layer = name.removesuffix(".weight")
    for pattern, loaded in family.renamed:
        layer, n_found = re.subn(pattern, loaded, layer)
        if n_found:
            break
    return layer.rpartition(".")[2]


def _auto(family: Family, names: list[str], task: Task) -> list[str]:
    """Whisper that writes: query and value, as measured. What has only an encoder is small: every layer."""
    if family.model_type == "whisper" and task is Task.SPEECH_TO_TEXT:
        return [name for name in ("q_proj", "v_proj") if name in names]
    return names


def _is_tied_copy(name: str, tensors: Mapping[str, TensorInfo], family: Family) -> bool:
    copies = {
        "whisper": ("proj_out.weight", "model.decoder.embed_tokens.weight"),
        "moonshine": ("proj_out.weight", "model.decoder.embed_tokens.weight"),
        "musicgen": ("text_encoder.encoder.embed_tokens.weight", "text_encoder.shared.weight"),
    }
    copy, original = copies.get(family.model_type, ("", ""))
    return name == copy and original in tensors
