"""Everything asked of a model folder before it may be trained; see `check_folder`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qlora_studio.contracts.enums import Task
from qlora_studio.modelfiles.cards import ModelCard, read_card
from qlora_studio.modelfiles.configs import FamilyConfig, SpectrogramConfig, WhisperConfig
from qlora_studio.modelfiles.families import FAMILIES, KNOWN_BUT_NOT_YET, Family, trainable_sentence
from qlora_studio.modelfiles.json_files import read_object, strip_unsafe
from qlora_studio.modelfiles.layers import LayerCard, describe_layers
from qlora_studio.modelfiles.processors import Processor, read_processor
from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.modelfiles.roots import is_inside
from qlora_studio.modelfiles.safetensors_header import TensorInfo, WeightsHeader
from qlora_studio.modelfiles.weights import find_weights

# Keys that change nothing of how a model is fine-tuned here: leaving them out is not worth showing.
_UNREMARKABLE = frozenset(
    "transformers_version problem_type output_hidden_states output_attentions return_dict "
    "chunk_size_feed_forward tokenizer_class tdnn_dim "
    "tdnn_kernel "
    "tdnn_dilation xvector_output_dim codevector_dim proj_codevector_dim num_codevector_groups num_negatives "
    "num_codevectors_per_group contrastive_logits_temperature diversity_loss_weight max_length "
    "num_hidden_layers forced_decoder_ids feat_extract_dropout gradient_checkpointing hidden_dropout_prob "
    "attention_probs_dropout_prob num_feat_extract_layers is_encoder_decoder use_cache".split()
)
_HEAD_SENTENCES = {
    Task.AUDIO_CLASSIFICATION: "Takes a head for the classes of your dataset",
    Task.SPEAKER_DIARIZATION: "Takes a head for the speakers of your dataset",
}
_WITH_NEW_HEADS = frozenset(_HEAD_SENTENCES)
_LAYER = re.compile(r"^(.*\blayers?\.\d+)\.")


@dataclass(frozen=True)
class CheckedModel:
    """A model folder that passed. Sizes in bytes; `checks` are sentences for the page."""

    folder: Path
    family: Family
    architecture: str
    task: Task
    config: FamilyConfig
    weights: tuple[WeightsHeader, ...]
    layers: LayerCard
    processor: Processor
    card: ModelCard
    dropped: tuple[str, ...]
    checks: tuple[str, ...]

    @property
    def n_layers(self) -> int:
        """Transformer layers that the task uses: under a new head there is only the encoder."""
        whole = self.config.n_layers
        is_encoder = self.task in self.family.new_heads
        return getattr(self.config, "encoder_layers", whole) if is_encoder else whole

    @property
    def window_s(self) -> float | None:
        """The window every clip is put into, in seconds; None where a clip costs its own length."""
        if isinstance(self.config, SpectrogramConfig):
            return self.config.max_length / 100
        return self.family.max_duration_s if isinstance(self.config, WhisperConfig) else None

    @property
    def size_bytes(self) -> int:
        return sum(header.size_bytes for header in self.weights)

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        return {name: tensor for header in self.weights for name, tensor in header.tensors.items()}


def check_folder(folder: Path, *, roots: Sequence[Path] = (), task: Task | None = None) -> CheckedModel:
    """Check a model folder by its contents. Reads headers and JSON only, never the weights themselves.

    Args:
        folder: a resolved folder.
        task: what it is wanted for; what its own head is for if None.
        roots: if given, no file of the folder may be a link that leads out of them.

    Raises:
        ModelRefused: the model can't be trained here; the message says why.
    """
    if roots:
        _check_links(folder, roots)
    raw = _read_config(folder)
    family, architecture, task = identify(raw, task)
    cleaned, dropped = strip_unsafe(raw, "config.json")
    config = parse_config(cleaned, family)
    weights = find_weights(folder)
    tensors = {name: tensor for header in weights for name, tensor in header.tensors.items()}
    if task is Task.SPEECH_TO_TEXT:
        _check_head(tensors, config, family)
    _check_landmarks(tensors, config, family)
    _check_depth(tensors, config, family)
    processor = read_processor(folder, family, task)
    _check_rate(processor, config)
    unknown = sorted(set(cleaned) - set(type(config).model_fields) - _UNREMARKABLE)
    return CheckedModel(
        folder=folder,
        family=family,
        architecture=architecture,
        task=task,
        config=config,
        weights=weights,
        layers=describe_layers(tensors, family, task),
        processor=processor,
        card=read_card(folder),
        dropped=(*dropped, *processor.dropped, *(f"config.json: {key[:80]}" for key in unknown)),
        checks=_sentences(family, config, weights, processor, task),
    )


def identify(raw: dict[str, Any], wanted: Task | None = None) -> tuple[Family, str, Task]:
    """Name the family of a raw `config.json`, the transformers class to load it as, and the task.

    A head that is made new for a dataset may be wanted of any model of its family, whatever head it has.

    Raises:
        ModelRefused: the family is unknown or does not train yet, or the head is not one that trains.
    """
    model_type = raw.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        label = KNOWN_BUT_NOT_YET.get(str(model_type), f"“{str(model_type)[:60]}”")
        raise ModelRefused(f"Models of the kind {label} can't be trained here yet. {trainable_sentence()}")
    named = raw.get("architectures")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    for name in names or list(family.architectures)[:1]:
        if name in family.architectures:
            task = family.architectures[name]
            if wanted is not None and wanted != task and wanted in _WITH_NEW_HEADS:
                task = _check_new_head(family, wanted, raw)
            elif task in family.new_heads:
                _check_new_head(family, task, raw)
            return family, family.new_heads.get(task, name), task
    known = " or ".join(family.architectures)
    found = names[0][:80] if names else "none"
    raise ModelRefused(
        f"This {family.label} model has the head “{found}”; to be trained here it needs to be a {known}."
    )


def _check_new_head(family: Family, task: Task, raw: dict[str, Any]) -> Task:
    """Whether a new head of this kind fits on the model; returns the task."""
    if task not in family.new_heads:
        able = [other.label for other in FAMILIES.values() if task in other.new_heads]
        raise ModelRefused(
            f"{family.label} models can't be trained for {task.value.replace('-', ' ')}; these can: "
            f"{', '.join(able)}."
        )
    if task is Task.SPEAKER_DIARIZATION and raw.get("add_adapter"):
        raise ModelRefused(
            "This model shortens sound after its encoder (add_adapter in config.json), and speakers are told "
            "apart frame by frame. Register one without."
        )
    return task


def parse_config(cleaned: dict[str, Any], family: Family) -> FamilyConfig:
    """Read a config through the family's schema.

    Raises:
        ModelRefused: a value is missing, of the wrong kind or out of bounds; the message names it.
    """
    try:
        return family.schema.model_validate(cleaned)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the values together"
        message = first["msg"].removeprefix("Value error, ")
        raise ModelRefused(
            f"config.json does not describe a {family.label} model: {where}: {message}."
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    if (folder / "config.json").is_file():
        return read_object(folder / "config.json")
    if (folder / "adapter_config.json").is_file():
        raise ModelRefused("This is an adapter, not a base model. Register the model it was trained on.")
    raise ModelRefused("There is no config.json in that folder, so it can't be told what model it is.")


def _check_links(folder: Path, roots: Sequence[Path]) -> None:
    for path in folder.iterdir():
        if path.is_symlink() and not is_inside(path.resolve(), roots):
            raise ModelRefused(f"“{path.name[:80]}” is a link to a place outside the allowed model folders.")


def _check_head(tensors: dict[str, TensorInfo], config: FamilyConfig, family: Family) -> None:
    """The head that writes must be there, as wide as the config says."""
    vocabulary: int | None = getattr(config, "vocab_size", None)
    if vocabulary is None:
        raise ModelRefused(
            f"config.json does not describe a {family.label} model that writes: vocab_size is missing."
        )
    if family.head == "proj_out":  # the table of words itself, used the other way round
        name, shape = "model.decoder.embed_tokens.weight", (vocabulary, config.width)
    else:
        name = f"{family.head}.weight"
        is_widened = getattr(config, "add_adapter", False) and getattr(config, "output_hidden_size", None)
        shape = (vocabulary, config.output_hidden_size if is_widened else config.width)  # type: ignore[attr-defined]
    if name not in tensors:
        raise ModelRefused(
            f"The weights lack “{name}”: they are not a complete {family.label} model with its head."
        )
    if tensors[name].shape != shape:
        raise ModelRefused(
            f"Config and weights disagree: “{name}” should be {shape[0]:,} by {shape[1]:,} "
            f"but is {' by '.join(f'{n:,}' for n in tensors[name].shape)}."
        )


def _check_landmarks(tensors: dict[str, TensorInfo], config: FamilyConfig, family: Family) -> None:
    for name, shape in config.landmarks().items():
        if name not in tensors:
            raise ModelRefused(f"The weights lack “{name}”: they are not a complete {family.label} model.")
        if tensors[name].shape != shape:
            raise ModelRefused(
                f"Config and weights disagree: “{name}” should be {_by(shape)} but is "
                f"{_by(tensors[name].shape)}."
            )


def _by(shape: Sequence[int]) -> str:
    return " by ".join(f"{n:,}" for n in shape)


def _check_rate(processor: Processor, config: FamilyConfig) -> None:
    """Where the model makes sound, it must be what the feature extractor takes in."""
    rate = getattr(config, "sampling_rate", processor.sample_rate)
    if rate != processor.sample_rate:
        raise ModelRefused(
            f"The model's codec works at {rate:,} Hz, its feature extractor at {processor.sample_rate:,} Hz."
        )


def _check_depth(tensors: dict[str, TensorInfo], config: FamilyConfig, family: Family) -> None:
    """The weights must have the layers the config describes; a Whisper's encoder may come alone."""
    tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(family.layers)}
    layers = {match[1] for key in tensors if (match := _LAYER.match(key)) and "conv_layers" not in match[1]}
    n_layers = len({layer for layer in layers if "adapter" not in layer})
    encoder_alone = getattr(config, "encoder_layers", config.n_layers)
    has_decoder = any("decoder" in layer.split(".") for layer in layers)
    if n_layers != (config.n_layers if has_decoder else encoder_alone):
        raise ModelRefused(
            f"Config and weights disagree: config.json says {config.n_layers} layers, the weights hold "
            f"{n_layers}."
        )


def _sentences(
    family: Family,
    config: FamilyConfig,
    weights: Sequence[WeightsHeader],
    processor: Processor,
    task: Task,
) -> tuple[str, ...]:
    n_tensors = sum(len(header.tensors) for header in weights)
    dtypes = sorted({tensor.dtype for header in weights for tensor in header.tensors.values()})
    files = "1 file" if len(weights) == 1 else f"{len(weights)} files"
    return (
        f"Config understood: {family.label}, {config.n_layers} layers, width {config.width:,}",
        f"Weights are safetensors: {files}, {n_tensors:,} tensors, {', '.join(dtypes)}",
        "Weights and config agree",
        f"Feature extractor found: {processor.sample_rate:,} Hz",
        _HEAD_SENTENCES.get(task, "Tokenizer found"),
        "Needs nobody's code",
    )
