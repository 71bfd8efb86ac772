"""The families that train here, as data; and those known but not trainable yet."""

from dataclasses import dataclass

from qlora_studio.contracts.enums import Task
from qlora_studio.modelfiles import configs

_CONFORMER_ATTENTION = ("linear_q", "linear_k", "linear_v", "linear_out")


@dataclass(frozen=True)
class Family:
    """One kind of model. Without saying otherwise it is like Wav2Vec2 with its CTC head.

    Attributes:
        model_type: transformers' name in `config.json`.
        label: the name people know.
        architectures: the transformers classes that train, with their task.
        attention: last parts of the names of the attention's linear layers.
        not_adapted: parts of names whose layers stay in full precision and take no LoRA.
        head: last part of the output layer's name.
        max_duration_s: longest clip the model can take, in seconds; None without a limit of its own.
    """

    model_type: str
    label: str
    schema: type[configs.FamilyConfig]
    architectures: dict[str, Task]
    attention: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj")
    not_adapted: tuple[str, ...] = ("lm_head",)
    head: str = "lm_head"
    feature_extractors: tuple[str, ...] = ("Wav2Vec2FeatureExtractor",)
    tokenizers: tuple[str, ...] = ("Wav2Vec2CTCTokenizer",)
    max_duration_s: float | None = None


FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            model_type="whisper",
            label="Whisper",
            schema=configs.WhisperConfig,
            architectures={"WhisperForConditionalGeneration": Task.SPEECH_TO_TEXT},
            not_adapted=("proj_out", "embed_tokens", "embed_positions"),
            head="proj_out",
            feature_extractors=("WhisperFeatureExtractor",),
            tokenizers=("WhisperTokenizer", "WhisperTokenizerFast"),
            max_duration_s=30.0,
        ),
        Family(
            model_type="wav2vec2",
            label="Wav2Vec2",
            schema=configs.Wav2Vec2Config,
            architectures={"Wav2Vec2ForCTC": Task.SPEECH_TO_TEXT},
        ),
        Family(
            model_type="hubert",
            label="HuBERT",
            schema=configs.HubertConfig,
            architectures={"HubertForCTC": Task.SPEECH_TO_TEXT},
        ),
        Family(
            model_type="wav2vec2-conformer",
            label="Wav2Vec2-Conformer",
            schema=configs.Wav2Vec2ConformerConfig,
            architectures={"Wav2Vec2ConformerForCTC": Task.SPEECH_TO_TEXT},
            attention=_CONFORMER_ATTENTION,
        ),
        Family(
            model_type="wav2vec2-bert",
            label="Wav2Vec2-BERT",
            schema=configs.Wav2Vec2BertConfig,
            architectures={"Wav2Vec2BertForCTC": Task.SPEECH_TO_TEXT},
            attention=_CONFORMER_ATTENTION,
            not_adapted=("lm_head", "distance_embedding"),
            feature_extractors=("SeamlessM4TFeatureExtractor",),
        ),
    )
}

KNOWN_BUT_NOT_YET = {
    "moonshine": "Moonshine",
    "wavlm": "WavLM",
    "audio-spectrogram-transformer": "AST",
    "musicgen": "MusicGen",
    "musicgen_melody": "MusicGen Melody",
    "speecht5": "SpeechT5",
    "qwen2_audio": "Qwen2-Audio",
    "vits": "VITS",
    "bark": "Bark",
}


def trainable_sentence() -> str:
    """The families that train, for the end of a refusal."""
    labels = [family.label for family in FAMILIES.values()]
    return f"These train today: {', '.join(labels[:-1])} and {labels[-1]} (speech-to-text)."
