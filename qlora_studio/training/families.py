"""What differs from one model family to the next, as data. Torch-free, for `validate`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlora_studio.contracts.enums import Task
from qlora_studio.training.failures import ModelNotUsable

_SPLIT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_RELATIVE_ATTENTION = ("linear_q", "linear_k", "linear_v", "linear_out")


@dataclass(frozen=True)
class Family:
    """How to load and adapt one `model_type`.

    Attributes:
        model_class: name of the transformers class with the head.
        heads: layers kept out of 4 bits; all but a word table's other use are also trained in full.
        attention: last name parts of the attention's linear layers.
        auto: target choice when the user says "auto": the attention names listed, or every linear layer.
        decoder: the part of the model that "decoder" adapts, as "auto" would; None where it has none.
        is_windowed: whether every clip is put into one window of fixed length.
        frozen: parts that stay as they are, in 4 bits where they can be, and take no adapter.
        trains_head: whether the heads are trained in full; not where they are the base model's own.
        untouchable: layers that can be neither 4-bit nor adapted, because their weights are read directly.
    """

    kind: str
    model_class: str
    heads: tuple[str, ...]
    attention: tuple[str, ...]
    auto: tuple[str, ...] | None = None
    untouchable: tuple[str, ...] = ()
    decoder: str | None = None
    is_windowed: bool = False
    frozen: tuple[str, ...] = ()
    trains_head: bool = True

    @property
    def takes_other_heads(self) -> bool:
        """Whether files with a head of another size will do, because it is made anew."""
        return self.kind == "diarizer"


FAMILIES = {
    "whisper": Family(
        "whisper",
        "WhisperForConditionalGeneration",
        ("proj_out",),
        _SPLIT_ATTENTION,
        ("q_proj", "v_proj"),
        decoder="decoder",
        is_windowed=True,
        trains_head=False,
    ),
    "moonshine": Family(
        "moonshine",
        "MoonshineForConditionalGeneration",
        ("proj_out",),
        ("q_proj", "k_proj", "v_proj", "o_proj"),
        trains_head=False,
    ),
    "wav2vec2": Family("ctc", "Wav2Vec2ForCTC", ("lm_head",), _SPLIT_ATTENTION),
    "hubert": Family("ctc", "HubertForCTC", ("lm_head",), _SPLIT_ATTENTION),
    "wavlm": Family("ctc", "WavLMForCTC", ("lm_head",), (), untouchable=_SPLIT_ATTENTION),
    "wav2vec2-conformer": Family("ctc", "Wav2Vec2ConformerForCTC", ("lm_head",), _RELATIVE_ATTENTION),
    "wav2vec2-bert": Family("ctc", "Wav2Vec2BertForCTC", ("lm_head",), _RELATIVE_ATTENTION),
}

_CLASS_HEADS = ("projector", "classifier")
CLASSIFIERS = {
    "audio-spectrogram-transformer": Family(
        "classifier",
        "ASTForAudioClassification",
        ("classifier",),
        ("q_proj", "k_proj", "v_proj", "o_proj"),
        is_windowed=True,
    ),
    "wav2vec2": Family("classifier", "Wav2Vec2ForSequenceClassification", _CLASS_HEADS, _SPLIT_ATTENTION),
    "hubert": Family("classifier", "HubertForSequenceClassification", _CLASS_HEADS, _SPLIT_ATTENTION),
    "wavlm": Family(
        "classifier", "WavLMForSequenceClassification", _CLASS_HEADS, (), untouchable=_SPLIT_ATTENTION
    ),
    "wav2vec2-conformer": Family(
        "classifier", "Wav2Vec2ConformerForSequenceClassification", _CLASS_HEADS, _RELATIVE_ATTENTION
    ),
    "wav2vec2-bert": Family(
        "classifier", "Wav2Vec2BertForSequenceClassification", _CLASS_HEADS, _RELATIVE_ATTENTION
    ),
    "whisper": Family(
        "classifier", "WhisperForAudioClassification", _CLASS_HEADS, _SPLIT_ATTENTION, is_windowed=True
    ),
}

GENERATORS = {
    "musicgen": Family(
        "musicgen",
        "MusicgenForConditionalGeneration",
        ("lm_heads",),
        _SPLIT_ATTENTION,
        untouchable=("enc_to_dec_proj", "wo"),  # the text encoder's `wo` overflows in less than 32 bits
        frozen=("text_encoder", "audio_encoder"),
        trains_head=False,
    ),
    "speecht5": Family(
        "speecht5",
        "SpeechT5ForTextToSpeech",
        ("feat_out", "prob_out"),
        _SPLIT_ATTENTION,
        trains_head=False,
    ),
}


def _diarizer(name: str, attention: tuple[str, ...], untouchable: tuple[str, ...] = ()) -> Family:
    """A head that judges every frame. HuBERT has none in the library."""
    model_class = f"{name}ForAudioFrameClassification"
    return Family("diarizer", model_class, ("classifier",), attention, untouchable=untouchable)


DIARIZERS = {
    "wav2vec2": _diarizer("Wav2Vec2", _SPLIT_ATTENTION),
    "wavlm": _diarizer("WavLM", (), untouchable=_SPLIT_ATTENTION),
    "wav2vec2-conformer": _diarizer("Wav2Vec2Conformer", _RELATIVE_ATTENTION),
    "wav2vec2-bert": _diarizer("Wav2Vec2Bert", _RELATIVE_ATTENTION),
}

TASK_FAMILIES = {
    Task.SPEECH_TO_TEXT: FAMILIES,
    Task.AUDIO_CLASSIFICATION: CLASSIFIERS,
    Task.SPEAKER_DIARIZATION: DIARIZERS,
    Task.TEXT_TO_AUDIO: GENERATORS,
}


def read_config(model_path: Path) -> dict[str, Any]:
    """Return a model folder's `config.json`.

    Raises:
        ModelNotUsable: it is missing or not a JSON object.
    """
    try:
        config = json.loads((model_path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotUsable(
            "The model's config.json cannot be read. Check the model and try again."
        ) from error
    if not isinstance(config, dict):
        raise ModelNotUsable("The model's config.json is not an object. Check the model and try again.")
    return config


def family_of(config: dict[str, Any], task: Task) -> Family:
    """Return the family of a config.

    Raises:
        ModelNotUsable: no family of that name trains this task.
    """
    name = str(config.get("model_type", ""))
    trained = TASK_FAMILIES.get(task, {})
    if name not in trained:
        known = ", ".join(sorted(trained)) or "none yet"
        raise ModelNotUsable(f"Models of type {name or 'unknown'} cannot train {task}; these can: {known}.")
    return trained[name]


def has_weights(model_path: Path) -> bool:
    """Whether the folder has safetensors weights (a config-only folder starts from random weights)."""
    return any(model_path.glob("*.safetensors"))
