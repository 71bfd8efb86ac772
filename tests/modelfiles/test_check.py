import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlora_studio.contracts.enums import Task
from qlora_studio.modelfiles.check import check_folder
from qlora_studio.modelfiles.refusal import ModelRefused
from tests.modelfiles.build import (
    WHISPER,
    ast_folder,
    ctc_folder,
    ctc_tensors,
    moonshine_folder,
    musicgen_folder,
    speecht5_folder,
    whisper_folder,
    whisper_tensors,
    write_json,
    write_safetensors,
)


def test_a_whisper_is_understood(tmp_path: Path) -> None:
    checked = check_folder(whisper_folder(tmp_path / "m"))
    assert checked.family.label == "Whisper"
    assert checked.task is Task.SPEECH_TO_TEXT
    assert checked.layers.presets["auto"] == ["q_proj", "v_proj"]
    assert checked.layers.presets["attention"] == ["q_proj", "k_proj", "v_proj", "out_proj"]
    assert set(checked.layers.targets) == {"fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj"}
    assert checked.card.license == "mit"
    assert checked.card.languages == ("en", "no")
    total = sum(t.size for name, t in whisper_tensors().items() if name != "proj_out.weight")
    assert checked.layers.n_parameters == total, "the output layer is the embedding again: counted once"
    assert checked.layers.n_linear_parameters == 12 * 32 * 32 + 4 * 32 * 64


def test_a_ctc_model_is_understood(tmp_path: Path) -> None:
    checked = check_folder(ctc_folder(tmp_path / "m"))
    assert checked.architecture == "Wav2Vec2ForCTC"
    assert "lm_head" not in checked.layers.targets
    assert "projection" in checked.layers.presets["auto"]
    assert checked.processor.sample_rate == 16_000


def test_settings_inside_processor_config_are_found(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "m")
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    write_json(
        folder / "processor_config.json",
        {"feature_extractor": extractor, "processor_class": "WhisperProcessor"},
    )
    assert check_folder(folder).processor.sample_rate == 16_000


@pytest.mark.parametrize("model_type", ["musicgen_melody", "vits", "bert", "../etc", "", None, 7])
def test_other_families_are_refused_naming_those_that_train(tmp_path: Path, model_type: Any) -> None:
    with pytest.raises(ModelRefused, match="These train today: Whisper, Moonshine, Wav2Vec2"):
        check_folder(whisper_folder(tmp_path / "m", model_type=model_type))


def test_a_model_that_writes_can_be_wanted_for_telling_sounds_apart(tmp_path: Path) -> None:
    whisper = check_folder(whisper_folder(tmp_path / "w"), task=Task.AUDIO_CLASSIFICATION)
    assert (whisper.task, whisper.architecture) == (
        Task.AUDIO_CLASSIFICATION,
        "WhisperForAudioClassification",
    )
    assert whisper.n_layers == 1
    assert {kind.n_layers for kind in whisper.layers.linear} == {1}  # the decoder's don't count
    assert whisper.layers.presets["auto"] == ["fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj"]
    ctc = check_folder(ctc_folder(tmp_path / "c"), task=Task.AUDIO_CLASSIFICATION)
    assert ctc.architecture == "Wav2Vec2ForSequenceClassification"
    assert check_folder(ctc_folder(tmp_path / "c")).architecture == "Wav2Vec2ForCTC"


def test_an_encoder_alone_needs_no_tokenizer_to_tell_sounds_apart(tmp_path: Path) -> None:
    folder = ctc_folder(tmp_path / "m", architectures=["Wav2Vec2ForPreTraining"], vocab_size=None)
    for name in ("vocab.json", "tokenizer_config.json"):
        (folder / name).unlink()
    tensors = {name: tensor for name, tensor in ctc_tensors().items() if "lm_head" not in name}
    write_safetensors(folder / "model.safetensors", tensors)
    checked = check_folder(folder)
    assert checked.task is Task.AUDIO_CLASSIFICATION
    assert list(checked.processor.json_files) == ["preprocessor_config.json"]
    with pytest.raises(ModelRefused, match="vocab_size is missing"):
        check_folder(ctc_folder(tmp_path / "n", vocab_size=None))


def test_a_spectrogram_transformer_is_understood(tmp_path: Path) -> None:
    checked = check_folder(ast_folder(tmp_path / "m"))
    assert checked.architecture == "ASTForAudioClassification"
    assert checked.config.cleaned()["id2label"] == {"0": "bell", "1": "door"}
    assert checked.layers.presets["attention"] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert checked.layers.targets == ["fc1", "fc2", "k_proj", "o_proj", "q_proj", "v_proj"]
    assert checked.processor.json_files["preprocessor_config.json"]["mean"] == -4.25
    assert checked.window_s == 1.28
    with pytest.raises(ModelRefused, match="multiple of num_attention_heads"):
        check_folder(ast_folder(tmp_path / "odd", num_attention_heads=3))


def test_a_moonshine_is_understood(tmp_path: Path) -> None:
    folder = moonshine_folder(tmp_path / "m")
    checked = check_folder(folder)
    assert (checked.family.label, checked.task) == ("Moonshine", Task.SPEECH_TO_TEXT)
    assert checked.layers.presets["attention"] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert checked.window_s is None, "a clip costs its own length"
    with pytest.raises(ModelRefused, match="Moonshine models can't be trained for audio"):
        check_folder(folder, task=Task.AUDIO_CLASSIFICATION)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelRefused, match="tokenizer"):
        check_folder(folder)


def test_positions_of_another_kind_are_refused(tmp_path: Path) -> None:
    folder = moonshine_folder(tmp_path / "m", rope_parameters={"rope_type": "yarn"})
    with pytest.raises(ModelRefused, match="rope_type"):
        check_folder(folder)


def test_a_table_of_labels_may_be_empty_as_the_library_writes_it(tmp_path: Path) -> None:
    folder = ast_folder(tmp_path / "m", id2label={"0": "bell", "1": "horn"}, label2id=None)
    assert check_folder(folder).task is Task.AUDIO_CLASSIFICATION


def test_a_musicgen_is_understood(tmp_path: Path) -> None:
    checked = check_folder(musicgen_folder(tmp_path / "m"))
    assert checked.task is Task.TEXT_TO_AUDIO
    assert checked.n_layers == 1
    assert checked.window_s is None
    assert checked.layers.targets == ["fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj"]
    decoder = 8 * 32 * 32 + 2 * 32 * 64
    assert checked.layers.n_linear_parameters == decoder + 32 * 16, "the text encoder's, but for its wo"
    assert checked.layers.n_frozen_parameters == 32 * 16
    assert "Tokenizer found" in checked.checks
    nested = checked.config.cleaned()["audio_encoder"]
    assert nested["sampling_rate"] == checked.processor.sample_rate == 16_000


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"decoder": {"audio_channels": 2}}, "stereo MusicGen; only mono"),
        ({"audio_encoder": {"audio_channels": 2}}, "stereo MusicGen; only mono"),
        ({"decoder": {"num_codebooks": 4}}, "2 codes of 64, the decoder says 4 of 64"),
        ({"decoder": {"pad_token_id": 0}}, "after the last code"),
        ({"decoder": {"hidden_size": 10**9}}, "decoder.hidden_size"),
        ({"decoder": {"num_hidden_layers": 3}}, "says 3 layers, the weights hold 1"),
        ({"text_encoder": {"model_type": "bert"}}, "text_encoder.model_type"),
        ({"text_encoder": {"d_model": 24}}, "final_layer_norm.weight” should be 24 but is 16"),
        ({"audio_encoder": {"chunk_length_s": 1.0}}, "audio_encoder.chunk_length_s"),
        ({"audio_encoder": {"sampling_rate": 15999}}, "15,999 Hz, its feature extractor at 16,000"),
        ({"audio_encoder": {"auto_map": {"AutoModel": "evil.Model"}}}, "auto_map"),
    ],
)
def test_a_musicgen_whose_parts_do_not_fit_is_refused(
    tmp_path: Path, parts: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ModelRefused, match=sentence):
        check_folder(musicgen_folder(tmp_path / "m", **parts))


def test_a_musicgen_needs_its_tokenizer_and_cannot_tell_sounds_apart(tmp_path: Path) -> None:
    folder = musicgen_folder(tmp_path / "m")
    with pytest.raises(ModelRefused, match="MusicGen models can't be trained for audio"):
        check_folder(folder, task=Task.AUDIO_CLASSIFICATION)
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    with pytest.raises(ModelRefused, match=r"needs tokenizer\.json"):
        check_folder(folder)


def test_a_speecht5_is_understood_with_its_letters_and_voices(tmp_path: Path) -> None:
    folder = speecht5_folder(tmp_path / "m")
    checked = check_folder(folder)
    assert (checked.task, checked.n_layers) == (Task.TEXT_TO_AUDIO, 2)
    assert checked.layers.presets["attention"] == ["q_proj", "k_proj", "v_proj", "out_proj"]
    assert not {"feat_out", "embed_tokens", "pe_k"} & set(checked.layers.targets)
    assert [path.name for path in checked.processor.copied_files] == ["spm_char.model"]
    assert checked.processor.json_files["preprocessor_config.json"]["fmin"] == 80
    write_safetensors(folder / "speaker_embeddings.safetensors", {"ann": np.zeros(16, dtype=np.float32)})
    assert len(check_folder(folder).processor.copied_files) == 2
    (folder / "speaker_embeddings.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelRefused, match=r"speaker_embeddings\.safetensors"):
        check_folder(folder)
    (folder / "spm_char.model").unlink()
    with pytest.raises(ModelRefused, match=r"needs spm_char\.model"):
        check_folder(folder)
    with pytest.raises(ModelRefused, match="speaker_embeds_layer"):
        check_folder(speecht5_folder(tmp_path / "n", speaker_embedding_dim=512))


def test_a_headless_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="Wav2Vec2ForXVector"):
        check_folder(ctc_folder(tmp_path / "m", architectures=["Wav2Vec2ForXVector"]))


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"d_model": 10**9}, "d_model"),
        ({"d_model": "32"}, "d_model"),
        ({"encoder_layers": -1}, "encoder_layers"),
        ({"vocab_size": None}, "vocab_size"),
        ({"activation_function": "__import__('os')"}, "activation_function"),
        ({"dropout": 1e308}, "dropout"),
        ({"encoder_attention_heads": 5}, "multiple"),
        ({"encoder_layers": 200}, "layers"),
        ({"vocab_size": 61}, "disagree"),
    ],
)
def test_values_out_of_bounds_are_named(tmp_path: Path, config: dict[str, Any], part: str) -> None:
    with pytest.raises(ModelRefused, match=part):
        check_folder(whisper_folder(tmp_path / "m", **config))


def test_not_a_number_in_a_config_is_refused(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps(WHISPER)[:-1] + ', "dropout": NaN}')
    with pytest.raises(ModelRefused, match="not valid JSON"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
        ({"custom_pipelines": {"x": {"impl": "evil.P"}}}, "custom_pipelines"),
        ({"nested": {"deep": [{"auto_map": {"AutoModel": "evil.Model"}}]}}, "auto_map"),
        ({"quantization_config": {"load_in_4bit": True}}, "quantised already"),
    ],
)
def test_configs_that_need_code_are_refused(tmp_path: Path, config: dict[str, Any], part: str) -> None:
    with pytest.raises(ModelRefused, match=part):
        check_folder(whisper_folder(tmp_path / "m", **config))


def test_tricks_that_can_be_dropped_are_dropped_and_shown(tmp_path: Path) -> None:
    folder = whisper_folder(
        tmp_path / "m",
        trust_remote_code=True,
        _attn_implementation="someone/kernels",
        a_key_nobody_knows=1,
    )
    tokenizer = {
        "tokenizer_class": "WhisperTokenizer",
        "chat_template": "{{ evil }}",
        "vocab_file": "/etc/passwd",
    }
    write_json(folder / "tokenizer_config.json", tokenizer)
    checked = check_folder(folder)
    shown = " ".join(checked.dropped)
    for key in (
        "trust_remote_code",
        "_attn_implementation",
        "a_key_nobody_knows",
        "chat_template",
        "vocab_file",
    ):
        assert key in shown
    assert not set(checked.config.cleaned()) - set(WHISPER)
    assert set(checked.processor.json_files["tokenizer_config.json"]) == {"tokenizer_class"}


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "last.ckpt", "weights.pkl", "w.npz", "model.keras"]
)
def test_weights_that_can_run_code_are_refused(tmp_path: Path, name: str) -> None:
    folder = whisper_folder(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ModelRefused, match="can run code"):
        check_folder(folder)


def test_pickled_weights_beside_safetensors_are_left_alone(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"whatever")
    assert check_folder(folder).weights[0].path.name == "model.safetensors"


@pytest.mark.parametrize(
    ("missing", "part"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "no weights"),
        ("preprocessor_config.json", "feature extractor is missing"),
        ("tokenizer.json", "tokenizer is missing"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, missing: str, part: str) -> None:
    folder = whisper_folder(tmp_path / "m")
    (folder / missing).unlink()
    with pytest.raises(ModelRefused, match=part):
        check_folder(folder)


def test_an_adapter_is_told_from_a_model(tmp_path: Path) -> None:
    write_json(tmp_path / "adapter_config.json", {})
    with pytest.raises(ModelRefused, match="adapter"):
        check_folder(tmp_path)


def test_a_foreign_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "m")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "EvilTokenizer"})
    with pytest.raises(ModelRefused, match="EvilTokenizer"):
        check_folder(folder)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "m")
    tensors = whisper_tensors()
    tensors["model.encoder.layers.0.fc1.weight"] = np.zeros((64, 32), np.int64)
    write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(ModelRefused, match="I64"):
        check_folder(folder)


def test_shards_are_read_together(tmp_path: Path) -> None:
    folder = ctc_folder(tmp_path / "m")
    tensors = list(ctc_tensors().items())
    (folder / "model.safetensors").unlink()
    parts = {"model-00001-of-00002.safetensors": tensors[:5], "model-00002-of-00002.safetensors": tensors[5:]}
    for name, part in parts.items():
        write_safetensors(folder / name, dict(part))
    weight_map = {tensor: name for name, part in parts.items() for tensor, _ in part}
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    assert len(check_folder(folder).weights) == 2
    write_json(
        folder / "model.safetensors.index.json", {"weight_map": weight_map | {"x": "../../etc/passwd"}}
    )
    with pytest.raises(ModelRefused, match="can't be weights"):
        check_folder(folder)
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelRefused, match="missing"):
        check_folder(folder)


def test_a_link_out_of_the_roots_is_refused(tmp_path: Path) -> None:
    inside = whisper_folder(tmp_path / "root" / "m")
    outside = tmp_path / "outside.safetensors"
    shutil.move(inside / "model.safetensors", outside)
    (inside / "model.safetensors").symlink_to(outside)
    with pytest.raises(ModelRefused, match="outside"):
        check_folder(inside, roots=[tmp_path / "root"])


def test_json_that_is_too_large_or_too_deep_is_refused(tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "m")
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelRefused, match="not valid JSON"):
        check_folder(folder)
    deep: Any = {}
    for _ in range(60):
        deep = {"a": deep}
    write_json(folder / "config.json", WHISPER | {"x": deep})
    with pytest.raises(ModelRefused, match="nested"):
        check_folder(folder)
    (folder / "config.json").write_text(json.dumps({"x": "y" * 9_000_000}))
    with pytest.raises(ModelRefused, match="most accepted"):
        check_folder(folder)


def test_speakers_can_be_told_apart_by_an_encoder_or_under_another_head(tmp_path: Path) -> None:
    wanted = Task.SPEAKER_DIARIZATION
    checked = check_folder(ctc_folder(tmp_path / "ctc"), task=wanted)
    assert (checked.task, checked.architecture) == (wanted, "Wav2Vec2ForAudioFrameClassification")
    assert "Takes a head for the speakers of your dataset" in checked.checks
    alone = ctc_folder(tmp_path / "alone", architectures=["Wav2Vec2Model"], vocab_size=None)
    assert check_folder(alone, task=wanted).architecture == "Wav2Vec2ForAudioFrameClassification"
    own = ctc_folder(tmp_path / "own", architectures=["Wav2Vec2ForAudioFrameClassification"])
    assert check_folder(own).task is wanted
    assert check_folder(own, task=Task.AUDIO_CLASSIFICATION).task is Task.AUDIO_CLASSIFICATION


def test_models_that_cannot_tell_speakers_apart_are_refused_naming_those_that_can(tmp_path: Path) -> None:
    for folder in (whisper_folder(tmp_path / "w"), ast_folder(tmp_path / "a")):
        with pytest.raises(
            ModelRefused, match="these can: Wav2Vec2, WavLM, Wav2Vec2-Conformer, Wav2Vec2-BERT"
        ):
            check_folder(folder, task=Task.SPEAKER_DIARIZATION)
    with pytest.raises(ModelRefused, match="add_adapter"):
        check_folder(ctc_folder(tmp_path / "m", add_adapter=True), task=Task.SPEAKER_DIARIZATION)
