"""The feature extractor and the tokenizer beside the weights: there, of the right kind, and cleaned."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qlora_studio.contracts.enums import Task
from qlora_studio.modelfiles.families import Family
from qlora_studio.modelfiles.json_files import MAX_TOKENIZER_BYTES, read_object, strip_unsafe
from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.modelfiles.safetensors_header import read_header

_EXTRACTOR_KEYS = frozenset(
    "chunk_length dither do_normalize feature_extractor_type feature_size hop_length max_length mean n_fft "
    "n_samples "
    "nb_max_frames num_mel_bins pad_to_multiple_of padding_side padding_value processor_class "
    "return_attention_mask "
    "sampling_rate std stride fmax fmin mel_floor win_function win_length".split()
)
_TOKENIZER_KEYS = frozenset(
    "add_prefix_space added_tokens_decoder additional_special_tokens backend bos_token "
    "clean_up_tokenization_spaces "
    "cls_token do_lower_case do_normalize eos_token errors extra_special_tokens language mask_token "
    "model_max_length "
    "normalize pad_token padding_side predict_timestamps processor_class replace_word_delimiter_char "
    "return_attention_mask sep_token split_special_tokens target_lang task tokenizer_class truncation_side "
    "unk_token "
    "word_delimiter_token".split()
)
# Copied as they are once they parse: plain data for the tokenizer.
_PLAIN_JSON = (
    "vocab.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "normalizer.json",
    "generation_config.json",
)
_MAX_MERGES_BYTES = 16 * 2**20


@dataclass
class Processor:
    """What a worker needs beside config and weights.

    Attributes:
        sample_rate: in hertz, what the model hears.
        json_files: cleaned JSON by file name, to be written.
        copied_files: files taken over byte by byte.
        dropped: what was left out, for the card.
        warnings: what the person should know.
    """

    sample_rate: int
    json_files: dict[str, dict[str, Any]] = field(default_factory=dict)
    copied_files: list[Path] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_processor(folder: Path, family: Family, task: Task = Task.SPEECH_TO_TEXT) -> Processor:
    """Check the feature extractor of a model folder, and the tokenizer where the task writes words.

    Raises:
        ModelRefused: one is missing or of another family.
    """
    processor = _read_feature_extractor(folder, family)
    if task in family.new_heads:
        return processor
    _read_tokenizer(folder, family, processor)
    for name in _PLAIN_JSON:
        if (folder / name).is_file():
            data, dropped = strip_unsafe(read_object(folder / name), name)
            processor.json_files[name] = data
            processor.dropped += dropped
    return processor


def _read_feature_extractor(folder: Path, family: Family) -> Processor:
    data, name = _feature_extractor_data(folder)
    data, dropped = strip_unsafe(data, name)
    kind = data.get("feature_extractor_type", family.feature_extractors[0])
    if kind not in family.feature_extractors:
        raise ModelRefused(
            f"{name} names the feature extractor “{kind}”; a {family.label} model uses "
            f"{family.feature_extractors[0]}."
        )
    sample_rate = data.get("sampling_rate", 16_000)
    if type(sample_rate) is not int or not 4_000 <= sample_rate <= 192_000:
        raise ModelRefused(f"{name} gives a sampling rate that makes no sense.")
    cleaned = {k: v for k, v in data.items() if k in _EXTRACTOR_KEYS} | {"feature_extractor_type": kind}
    if family.model_type == "musicgen" and data.get("feature_size", 1) != 1:
        raise ModelRefused("This MusicGen takes stereo sound; only mono ones can be trained here.")
    return Processor(sample_rate, {"preprocessor_config.json": cleaned}, dropped=dropped)


def _feature_extractor_data(folder: Path) -> tuple[dict[str, Any], str]:
    """The extractor's settings: in their own file, or inside `processor_config.json` as newer models do."""
    if (folder / "preprocessor_config.json").is_file():
        return read_object(folder / "preprocessor_config.json"), "preprocessor_config.json"
    if (folder / "processor_config.json").is_file():
        nested = read_object(folder / "processor_config.json").get("feature_extractor")
        if isinstance(nested, dict):
            return nested, "processor_config.json"
    raise ModelRefused(
        "The feature extractor is missing: the folder needs preprocessor_config.json (or "
        "processor_config.json)."
    )


def _read_tokenizer(folder: Path, family: Family, processor: Processor) -> None:
    if family.model_type == "speecht5":
        _take_sentences(folder, processor)
        _read_tokenizer_config(folder, family, processor)
        return
    has_fast = (folder / "tokenizer.json").is_file()
    has_vocab = (folder / "vocab.json").is_file()
    if not has_fast and not has_vocab:
        raise ModelRefused("The tokenizer is missing: the folder needs tokenizer.json or vocab.json.")
    if not has_fast and family.model_type in ("musicgen", "moonshine"):
        raise ModelRefused(f"The tokenizer is incomplete: a {family.label} model needs tokenizer.json.")
    if family.is_ctc and not has_vocab:
        raise ModelRefused("The tokenizer is incomplete: a CTC model needs its letters in vocab.json.")
    if family.model_type == "whisper" and not has_fast and not (folder / "merges.txt").is_file():
        raise ModelRefused("The tokenizer is incomplete: vocab.json needs merges.txt beside it.")
    if has_fast:
        read_object(folder / "tokenizer.json", max_bytes=MAX_TOKENIZER_BYTES)
        processor.copied_files.append(folder / "tokenizer.json")
    if (folder / "merges.txt").is_file():
        if (folder / "merges.txt").stat().st_size > _MAX_MERGES_BYTES:
            raise ModelRefused("merges.txt is too large to be a tokenizer's.")
        processor.copied_files.append(folder / "merges.txt")
    _read_tokenizer_config(folder, family, processor)


def _take_sentences(folder: Path, processor: Processor) -> None:
    """SpeechT5's letters, in SentencePiece's format; and its voices, where there are any."""
    letters, voices = folder / "spm_char.model", folder / "speaker_embeddings.safetensors"
    if not letters.is_file():
        raise ModelRefused("The tokenizer is missing: the folder needs spm_char.model.")
    for path in (letters, voices):
        if path.is_file() and path.stat().st_size > _MAX_MERGES_BYTES:
            raise ModelRefused(f"{path.name} is too large.")
    processor.copied_files.append(letters)
    if voices.is_file():
        read_header(voices)
        processor.copied_files.append(voices)


def _read_tokenizer_config(folder: Path, family: Family, processor: Processor) -> None:
    name = "tokenizer_config.json"
    data: dict[str, Any] = {}
    if (folder / name).is_file():
        data, dropped = strip_unsafe(read_object(folder / name), name)
        processor.dropped += dropped
    else:
        processor.warnings.append(f"There is no {name}; the family's usual settings are used.")
    kind = data.get("tokenizer_class") or family.tokenizers[0]
    if kind not in family.tokenizers:
        raise ModelRefused(
            f"{name} names the tokenizer “{kind}”; a {family.label} model uses {family.tokenizers[0]}."
        )
    cleaned = {k: v for k, v in data.items() if k in _TOKENIZER_KEYS} | {"tokenizer_class": kind}
    processor.json_files[name] = cleaned
