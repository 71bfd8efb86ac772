"""The families that train here, as data; and those known but not trainable yet.

MusicGen and SpeechT5 make sound. Any other but AST writes down speech; all but Moonshine tell sounds apart,
some speakers apart. For these two, the files may be of the encoder alone or of a model with another head: the
head for one's own classes or speakers is made new.
"""

from dataclasses import dataclass, field
from typing import Any

from qlora_studio.contracts.enums import Task
from qlora_studio.modelfiles import configs
from qlora_studio.modelfiles.sound_configs import MusicgenConfig, SpeechT5Config

_READ_DIRECTLY = ("q_proj", "k_proj", "v_proj", "out_proj")  # by WavLM's attention: never through the layer
_AST_NAMES = (
    (r"attention\.query$", "attention.q_proj"),
    (r"attention\.key$", "attention.k_proj"),
    (r"attention\.value$", "attention.v_proj"),
    (r"attention\.output\.dense$", "attention.o_proj"),
    (r"\.intermediate\.dense$", ".mlp.fc1"),
    (r"\.output\.dense$", ".mlp.fc2"),
)  # transformers 5 loads the files under these names
_CLASS_HEADS = ("projector", "classifier")
_CONFORMER_ATTENTION = ("linear_q", "linear_k", "linear_v", "linear_out")


@dataclass(frozen=True)
class Family:
    """One kind of model. Without saying otherwise it is like Wav2Vec2 with its CTC head.

    Attributes:
        model_type: transformers' name in `config.json`.
        label: the name people know.
        architectures: the transformers classes that files may name, with the task they are for.
        new_heads: for each task whose head is made new for a dataset, the transformers class that has it.
        attention: last parts of the names of the attention's linear layers.
        not_adapted: parts of names whose layers stay in full precision and take no LoRA.
        head: last part of the output layer's name; "" if the family has no tokenizer.
        renamed: pairs of a layer's name in the files, a regular expression, and in the loaded model.
        max_duration_s: longest clip the model can take, in seconds; None without a limit of its own.
        frozen: parts of names whose layers go into 4 bits but take no LoRA.
        layers: how the names of the layers begin that the config counts; "" for all.
    """

    model_type: str
    label: str
    schema: type[configs.FamilyConfig]
    architectures: dict[str, Task]
    new_heads: dict[Task, str] = field(default_factory=dict)
    attention: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj")
    not_adapted: tuple[str, ...] = ("lm_head", *_CLASS_HEADS)
    head: str = "lm_head"
    feature_extractors: tuple[str, ...] = ("Wav2Vec2FeatureExtractor",)
    tokenizers: tuple[str, ...] = ("Wav2Vec2CTCTokenizer",)
    max_duration_s: float | None = None
    renamed: tuple[tuple[str, str], ...] = ()
    frozen: tuple[str, ...] = ()
    layers: str | tuple[str, ...] = ""

    @property
    def is_ctc(self) -> bool:
        return self.head == "lm_head"


def _heads(name: str, *, tells_speakers_apart: bool = True) -> dict[str, Any]:
    """What files of the Wav2Vec2 kin may hold: a head for one of the tasks, or the encoder alone."""
    new_heads = {Task.AUDIO_CLASSIFICATION: f"{name}ForSequenceClassification"}
    if tells_speakers_apart:
        new_heads[Task.SPEAKER_DIARIZATION] = f"{name}ForAudioFrameClassification"
    alone = dict.fromkeys((f"{name}Model", f"{name}ForPreTraining"), Task.AUDIO_CLASSIFICATION)
    with_heads = {head: task for task, head in new_heads.items()}
    return {
        "architectures": {f"{name}ForCTC": Task.SPEECH_TO_TEXT, **alone, **with_heads},
        "new_heads": new_heads,
    }


FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            model_type="whisper",
            label="Whisper",
            schema=configs.WhisperConfig,
            architectures={
                "WhisperForConditionalGeneration": Task.SPEECH_TO_TEXT,
                "WhisperForAudioClassification": Task.AUDIO_CLASSIFICATION,
            },
            new_heads={Task.AUDIO_CLASSIFICATION: "WhisperForAudioClassification"},
            not_adapted=("proj_out", "embed_tokens", "embed_positions", *_CLASS_HEADS),
            head="proj_out",
            feature_extractors=("WhisperFeatureExtractor",),
            tokenizers=("WhisperTokenizer", "WhisperTokenizerFast"),
            max_duration_s=30.0,
        ),
        Family(
            model_type="moonshine",
            label="Moonshine",
            schema=configs.MoonshineConfig,
            architectures={"MoonshineForConditionalGeneration": Task.SPEECH_TO_TEXT},
            attention=("q_proj", "k_proj", "v_proj", "o_proj"),
            not_adapted=("proj_out", "embed_tokens"),
            head="proj_out",
            tokenizers=("PreTrainedTokenizerFast", "TokenizersBackend"),
            max_duration_s=30.0,
        ),
        Family(
            model_type="wav2vec2",
            label="Wav2Vec2",
            schema=configs.Wav2Vec2Config,
            **_heads("Wav2Vec2"),
        ),
        Family(
            model_type="hubert",
            label="HuBERT",
            schema=configs.HubertConfig,
            **_heads("Hubert", tells_speakers_apart=False),  # the library has no such head
        ),
        Family(
            model_type="wavlm",
            label="WavLM",
            schema=configs.WavLmConfig,
            **_heads("WavLM"),
            attention=(),
            not_adapted=("lm_head", *_CLASS_HEADS, *_READ_DIRECTLY, "gru_rel_pos_linear", "rel_attn_embed"),
        ),
        Family(
            model_type="wav2vec2-conformer",
            label="Wav2Vec2-Conformer",
            schema=configs.Wav2Vec2ConformerConfig,
            **_heads("Wav2Vec2Conformer"),
            attention=_CONFORMER_ATTENTION,
        ),
        Family(
            model_type="wav2vec2-bert",
            label="Wav2Vec2-BERT",
            schema=configs.Wav2Vec2BertConfig,
            **_heads("Wav2Vec2Bert"),
            attention=_CONFORMER_ATTENTION,
            not_adapted=("lm_head", *_CLASS_HEADS, "distance_embedding"),
            feature_extractors=("SeamlessM4TFeatureExtractor",),
        ),
        Family(
            model_type="audio-spectrogram-transformer",
            label="AST",
            schema=configs.SpectrogramConfig,
            architectures={
                "ASTForAudioClassification": Task.AUDIO_CLASSIFICATION,
                "ASTModel": Task.AUDIO_CLASSIFICATION,
            },
            new_heads={Task.AUDIO_CLASSIFICATION: "ASTForAudioClassification"},
            attention=("q_proj", "k_proj", "v_proj", "o_proj"),
            not_adapted=("classifier",),
            head="",
            feature_extractors=("ASTFeatureExtractor",),
            tokenizers=(),
            renamed=_AST_NAMES,
        ),
        Family(
            model_type="musicgen",
            label="MusicGen",
            schema=MusicgenConfig,
            architectures={"MusicgenForConditionalGeneration": Task.TEXT_TO_AUDIO},
            not_adapted=(
                *("lm_heads", "embed_tokens", "shared", "relative_attention_bias", "enc_to_dec_proj", "wo"),
                "audio_encoder",
            ),
            frozen=("text_encoder",),
            head="",
            feature_extractors=("EncodecFeatureExtractor",),
            tokenizers=("T5Tokenizer", "T5TokenizerFast"),
            layers="decoder.",
        ),
        Family(
            model_type="speecht5",
            label="SpeechT5",
            schema=SpeechT5Config,
            architectures={"SpeechT5ForTextToSpeech": Task.TEXT_TO_AUDIO},
            not_adapted=("feat_out", "prob_out", "embed_tokens", "pe_k"),
            head="",
            feature_extractors=("SpeechT5FeatureExtractor",),
            tokenizers=("SpeechT5Tokenizer",),
            layers=("speecht5.encoder.wrapped_encoder.", "speecht5.decoder.wrapped_decoder."),
        ),
    )
}

KNOWN_BUT_NOT_YET = {
    "musicgen_melody": "MusicGen Melody",
    "qwen2_audio": "Qwen2-Audio",
    "vits": "VITS",
    "bark": "Bark",
}


def trainable_sentence() -> str:
    """The families that train, for the end of a refusal."""
    labels = [family.label for family in FAMILIES.values()]
    return f"These train today: {', '.join(labels[:-1])} and {labels[-1]}."
