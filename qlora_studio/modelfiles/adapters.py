"""Adapters made elsewhere: a LoRA in PEFT's format, believed nothing and rewritten from what was understood.

`adapter_config.json` can name Python classes to import, files to load and regular expressions to run. Only
what a plain LoRA needs is kept, with the adapted layers named one by one as the weights have them. Weights
are safetensors by content, and every tensor has to fit the base model.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qlora_studio.contracts.enums import Task
from qlora_studio.modelfiles.families import Family
from qlora_studio.modelfiles.json_files import MAX_SMALL_BYTES, read_object
from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.modelfiles.safetensors_header import TensorInfo, WeightsHeader, read_header
from qlora_studio.modelfiles.voices import FILE as VOICES
from qlora_studio.modelfiles.voices import MAX_NAME, MAX_VOICES, read_voices
from qlora_studio.modelfiles.weights import CODE_CARRYING

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
ABOUT = "qlora_studio.json"
_HEADS = {"lm_head", "projector", "classifier"}
_PREFIX = "base_model.model."
_FLOATS = frozenset({"F16", "BF16", "F32"})
_LORA = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")
_NAME = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*")

# With any of these set, the adapter is not a plain LoRA, or needs somebody's code.
_REFUSED = {
    "trainable_token_indices": "it trains single words of the table (trainable_token_indices)",
    "target_parameters": "it adapts bare parameters (target_parameters)",
    "layer_replication": "it repeats layers of the base (layer_replication)",
    "use_dora": "it is a DoRA (use_dora)",
    "use_qalora": "it is a QALoRA (use_qalora)",
    "use_bdlora": "it is a BD-LoRA (use_bdlora)",
    "lora_bias": "it trains biases (lora_bias)",
    "fan_in_fan_out": "its weights are stored the other way round (fan_in_fan_out)",
    "megatron_config": "it needs Megatron (megatron_config)",
    "alora_invocation_tokens": "it is an activated LoRA (alora_invocation_tokens)",
    "arrow_config": "it routes between adapters (arrow_config)",
    "kasa_config": "it is a KaSA adapter (kasa_config)",
    "velora_config": "it is a VeLoRA adapter (velora_config)",
    "monteclora_config": "it is a MonteCLoRA adapter (monteclora_config)",
    "custom_modules": "it brings modules of its own (custom_modules)",
    "auto_map": "it needs Python code of its author (auto_map)",
}
# These only say how training began, or are told by the weights themselves.
_NEEDLESS = frozenset(
    "alpha_pattern_regex corda_config ensure_weight_tying eva_config exclude_modules inference_mode "
    "init_lora_weights layers_pattern layers_to_transform loftq_config lora_ga_config megatron_core "
    "peft_version qalora_group_size revision task_type runtime_config base_model_name_or_path".split()
)
# These point a loader at code, files or places: dropped, and shown where they were set.
_SHOWN = frozenset(
    {"auto_mapping", "base_model_class", "parent_library", "cache_dir", "lora_file", "eva_state"}
)


class _Config(BaseModel):
    """What is kept of `adapter_config.json`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    peft_type: Literal["LORA"]
    r: Annotated[int, Field(ge=1, le=1024)]
    lora_alpha: Annotated[float, Field(gt=0, le=65536)]
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bias: Literal["none"] = "none"
    use_rslora: bool = False
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=1024)]] = {}
    alpha_pattern: dict[str, Annotated[float, Field(gt=0, le=65536)]] = {}
    modules_to_save: list[str] | None = None
    target_modules: Any = None


class _Inference(BaseModel):
    """What is kept of what our own `qlora_studio.json` says on how to hear."""

    model_config = ConfigDict(extra="ignore", strict=True)

    classes: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=10_000)] | None = None
    language: Annotated[str, Field(max_length=40)] | None = None
    window: Literal["standard"] | None = None
    n_speakers: Annotated[int, Field(ge=1, le=64)] | None = None
    voices: (
        Annotated[list[Annotated[str, Field(max_length=MAX_NAME)]], Field(max_length=MAX_VOICES)] | None
    ) = None


@dataclass(frozen=True)
class CheckedAdapter:
    """An adapter folder that passed. `config` and `about` are what is written in place of its own files.

    Attributes:
        base_name: what it calls its base model, for people.
        model_hash: hash of the base model it was trained on, "" where it does not say.
        dropped: what of its files was left out, for people.
        voices: the voices of a model that speaks, if they came with it.
    """

    header: WeightsHeader
    config: dict[str, Any]
    about: dict[str, Any]
    rank: int
    n_layers: int
    base_name: str = ""
    model_hash: str = ""
    dropped: list[str] = field(default_factory=list)
    voices: WeightsHeader | None = None


def check_adapter(
    folder: Path, *, base: Mapping[str, TensorInfo], family: Family, task: Task
) -> CheckedAdapter:
    """Check an adapter folder against the tensors of its base model.

    Raises:
        ModelRefused: it is not a plain LoRA of this base, or could run code; the sentence says why.
    """
    path = _find_weights(folder)
    raw = read_object(folder / CONFIG, max_bytes=MAX_SMALL_BYTES)
    config, dropped = _read_config(raw)
    header = read_header(path)
    about = _read_about(folder)
    layers, heads = _sort_tensors(header.tensors)
    layer_shapes = _Base(base, family)
    for name, sides in layers.items():
        _check_layer(name, sides, layer_shapes.shape_of(name), config)
    inference = _inference(about)
    needs = _HeadNeeds(
        allowed=set(family.not_adapted) & _HEADS,
        is_new=task in family.new_heads,
        n_classes=len(inference.get("classes") or ()) or int(inference.get("n_speakers", 0)),
    )
    _check_heads(heads, config, layer_shapes, needs)
    voices = read_voices(folder, base)
    left = {file.name for file in folder.iterdir()} - {WEIGHTS} - ({VOICES} if voices else set())
    not_read = CODE_CARRYING | {".safetensors"}
    dropped += [f"{n}: not read" for n in sorted(left) if Path(n).suffix.lower() in not_read]
    return CheckedAdapter(
        header=header,
        config=_written_config(config, layers, heads),
        about={"v": 1, "inference": inference, **_precision(about)},
        rank=config.r,
        n_layers=len(layers),
        base_name=str(raw.get("base_model_name_or_path") or "")[:200],
        model_hash=str(about.get("model_hash") or "")[:64],
        dropped=dropped,
        voices=voices,
    )


def _find_weights(folder: Path) -> Path:
    names = [path.name for path in folder.iterdir()]
    if CONFIG not in names:
        raise ModelRefused(f"There is no {CONFIG} in it. Choose the folder that PEFT saved.")
    if WEIGHTS in names:
        if any((folder / name).is_symlink() for name in (WEIGHTS, CONFIG, ABOUT)):
            raise ModelRefused("Its files are links to other places. Choose the files themselves.")
        return folder / WEIGHTS
    pickled = sorted(name for name in names if Path(name).suffix.lower() in CODE_CARRYING)
    if pickled:
        raise ModelRefused(
            f"The weights are in {pickled[0][:80]}, a format that can run code when it is opened. "
            f"Save the adapter as {WEIGHTS}."
        )
    raise ModelRefused(f"There are no weights in it: it needs {WEIGHTS}.")


def _read_config(raw: dict[str, Any]) -> tuple[_Config, list[str]]:
    if raw.get("peft_type") != "LORA":
        raise ModelRefused("Only LoRA adapters can be used; this one is of another kind.")
    for key, reason in _REFUSED.items():
        if raw.get(key):
            raise ModelRefused(f"This adapter can't be used: {reason}.")
    known = set(_Config.model_fields)
    unknown = sorted(set(raw) - known - _NEEDLESS - _SHOWN - set(_REFUSED))
    strange = [key for key in unknown if raw[key] not in (None, False, "", [], {})]
    if strange:
        raise ModelRefused(f"{CONFIG} sets “{strange[0][:60]}”, which is not known here.")
    dropped = [f"{CONFIG}: {key}" for key in sorted(_SHOWN) if raw.get(key)]
    try:
        config = _Config.model_validate({key: raw[key] for key in known if raw.get(key) is not None})
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ModelRefused(f"{CONFIG} has a value for “{where[:60]}” that makes no sense.") from error
    for pattern in (*config.rank_pattern, *config.alpha_pattern, *(config.modules_to_save or ())):
        if not _NAME.fullmatch(pattern):
            raise ModelRefused(f"{CONFIG} names layers by an expression (“{pattern[:60]}”), not by name.")
    return config, dropped


def _read_about(folder: Path) -> dict[str, Any]:
    return read_object(folder / ABOUT) if (folder / ABOUT).is_file() else {}


def _inference(about: dict[str, Any]) -> dict[str, Any]:
    try:
        return _Inference.model_validate(about.get("inference") or {}).model_dump(exclude_none=True)
    except ValidationError as error:
        raise ModelRefused(f"{ABOUT} says things about hearing that make no sense.") from error


def _precision(about: dict[str, Any]) -> dict[str, Any]:
    """In how many bits its base was: 4 where our own file says so, else none were taken away."""
    quantization = about.get("quantization")
    if not isinstance(quantization, dict):
        return {"quantization": None, "bits": 32}
    double = bool(quantization.get("bnb_4bit_use_double_quant", True))
    whole = bool(quantization.get("whole_encoder", False))
    return {
        "quantization": {"load_in_4bit": True, "bnb_4bit_use_double_quant": double, "whole_encoder": whole}
    }


_Sides = dict[str, TensorInfo]


def _sort_tensors(tensors: Mapping[str, TensorInfo]) -> tuple[dict[str, _Sides], dict[str, TensorInfo]]:
    """Sides A and B by layer, and everything else by its name in the base model."""
    layers: dict[str, _Sides] = {}
    heads: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        inner = name.removeprefix(_PREFIX)
        if inner == name or not _NAME.fullmatch(inner) or tensor.dtype not in _FLOATS:
            raise ModelRefused(f"The weights hold “{name[:80]}”, which no plain LoRA has.")
        match = _LORA.fullmatch(inner)
        if match:
            layers.setdefault(match["layer"], {})[match["side"]] = tensor
        elif "lora_" in inner:
            raise ModelRefused(f"The weights hold “{name[:80]}”, which no plain LoRA has.")
        else:
            heads[inner] = tensor
    if not layers:
        raise ModelRefused("The weights hold no LoRA matrices.")
    return layers, heads


class _Base:
    """Shapes of the base model's tensors, under the names of the files and of the loaded model."""

    def __init__(self, tensors: Mapping[str, TensorInfo], family: Family) -> None:
        self._shapes: dict[str, tuple[int, ...]] = {}
        for name, tensor in tensors.items():
            layer, _, kind = name.rpartition(".")
            for pattern, loaded in family.renamed:
                layer, n_found = re.subn(pattern, loaded, layer)
                if n_found:
                    break
            self._shapes[f"{layer}.{kind}"] = tensor.shape
        self._ends = {_without_top(n): s for n, s in self._shapes.items() if n.count(".") > 1}

    def shape_of(self, layer: str) -> tuple[int, ...] | None:
        """Shape of a layer's weight; files of an encoder alone lack the first part of the name."""
        name = f"{layer}.weight"
        short = _without_top(name) if name.count(".") > 1 else name
        found = self._shapes.get(name) or self._shapes.get(short)
        return found or self._ends.get(name) or self._ends.get(short)


def _without_top(name: str) -> str:
    return name.partition(".")[2]


def _check_layer(name: str, sides: _Sides, base: tuple[int, ...] | None, config: _Config) -> None:
    if base is None:
        raise ModelRefused(f"The base model has no layer “{name[:100]}”. Choose the model it was trained on.")
    if set(sides) != {"A", "B"} or len(base) != 2:
        raise ModelRefused(f"“{name[:100]}” is not a linear layer with both LoRA matrices.")
    a, b = sides["A"].shape, sides["B"].shape
    ends = [rank for end, rank in config.rank_pattern.items() if name == end or name.endswith(f".{end}")]
    rank = ends[0] if ends else config.r
    if a != (rank, base[1]) or b != (base[0], rank):
        raise ModelRefused(
            f"“{name[:100]}” does not fit: matrices of {_shape(a)} and {_shape(b)}, rank {rank}, on a layer "
            f"of {_shape(base)}. Choose the model it was trained on."
        )


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(str(size) for size in shape)


def _check_heads(
    heads: Mapping[str, TensorInfo], config: _Config, base: "_Base", needs: "_HeadNeeds"
) -> None:
    """Heads trained in full: only the family's own, as large as the base's or as there are classes."""
    named = set(config.modules_to_save or ())
    strange = sorted(named - needs.allowed)
    if strange:
        raise ModelRefused(f"It replaces “{strange[0][:60]}”, which is not this model's head.")
    for name, tensor in heads.items():
        if not named & set(name.split(".")):
            raise ModelRefused(f"The weights hold “{name[:80]}”, which {CONFIG} does not speak of.")
        has_classes = needs.is_new and needs.n_classes and "classifier" in name.split(".")
        if has_classes and tensor.shape[:1] != (needs.n_classes,):
            n_outputs = tensor.shape[0] if tensor.shape else 0
            raise ModelRefused(f"The head has {n_outputs} outputs for {needs.n_classes} classes.")
        stored = base.shape_of(name.removesuffix(".weight")) if name.endswith(".weight") else None
        if stored is not None and tensor.shape != stored and not has_classes:
            raise ModelRefused(f"The head “{name[:80]}” does not fit the base model's.")


@dataclass(frozen=True)
class _HeadNeeds:
    """Which heads may be replaced; whether the task makes them new, for how many classes (0: not said)."""

    allowed: set[str]
    is_new: bool
    n_classes: int


def _written_config(
    config: _Config, layers: Mapping[str, _Sides], heads: Mapping[str, TensorInfo]
) -> dict[str, Any]:
    kept = config.model_dump(exclude={"target_modules"}, exclude_defaults=False)
    kept["target_modules"] = sorted(layers)
    kept["modules_to_save"] = sorted(config.modules_to_save or ()) if heads else None
    return {**kept, "task_type": None, "inference_mode": True, "base_model_name_or_path": None}
