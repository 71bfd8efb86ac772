"""Every CTC family in 4 bits: what is quantised, what is adapted, and the traps that cost a failure once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qlora_studio.contracts.enums import ExitReason, Task
from qlora_studio.contracts.spec import QLoraSpec
from qlora_studio.training import families, lora, models, quantize
from qlora_studio.training.clips import ClipSets, read_clips
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.feature_store import FeatureStore
from tests.training import tiny
from tests.training.running import run

# The library deprecates a name that it uses itself; the worker ignores that in its log.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:Support for mismatched key_padding_mask"
)
WAVEFORM_FAMILIES = ("wav2vec2", "hubert", "wavlm", "wav2vec2-conformer")


@pytest.fixture(scope="module")
def waveform_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tiny.make_waveform_ctc(tmp_path_factory.mktemp(name), name) for name in WAVEFORM_FAMILIES}


def _adapted(root: Path, model_path: Path, clips_path: Path, **qlora: Any) -> tuple[Any, Any, Any]:
    """(spec, task, model with a fresh adapter)"""
    spec = tiny.make_spec(root, model_path, clips_path, qlora=qlora)
    config = families.read_config(model_path)
    family = families.family_of(config, spec.task)
    models.seed_everything(0)
    task = models.make_task(spec, family, config)
    base = models.load_base(spec, family, "cpu")
    task.prepare(base, read_clips(clips_path, max_s=40))
    return spec, task, models.make_trainable(base, spec, family)


@pytest.mark.parametrize("family", WAVEFORM_FAMILIES)
def test_head_is_trained_in_full_and_every_adapter_gets_a_gradient(
    family: str, tmp_path: Path, clips_path: Path, waveform_paths: dict[str, Path]
) -> None:
    _, task, model = _adapted(tmp_path, waveform_paths[family], clips_path)
    packed = quantize.quantised_layers(model)
    assert packed
    assert not [name for name in packed if "lm_head" in name]
    assert all(layer.weight.dtype is torch.uint8 for layer in packed.values())
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or "lm_head" in name for name in trained)
    assert any("lm_head" in name for name in trained)

    clips = tiny.read_clips(clips_path)[:2]
    model.train()
    model(**FeatureStore(task).batch(clips)).loss.backward()
    without = [name for name, p in trained.items() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


def test_wavlm_attention_is_left_alone(
    tmp_path: Path, clips_path: Path, waveform_paths: dict[str, Path]
) -> None:
    _, _, model = _adapted(tmp_path, waveform_paths["wavlm"], clips_path)
    touched = [*quantize.quantised_layers(model), *(n for n, _ in model.named_parameters() if "lora_" in n)]
    assert touched
    assert not [name for name in touched if set(name.split(".")) & {"q_proj", "k_proj", "v_proj", "out_proj"}]
    with pytest.raises(ModelNotUsable, match="auto or all-linear"):
        _adapted(tmp_path, waveform_paths["wavlm"], clips_path, target_modules="attention")


def test_batch_norms_stay_on_their_stored_statistics(
    tmp_path: Path, clips_path: Path, waveform_paths: dict[str, Path]
) -> None:
    _, task, model = _adapted(tmp_path, waveform_paths["wav2vec2-conformer"], clips_path)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    before = [norm.running_mean.clone() for norm in norms]
    model.train()  # as the trainer does at every step
    model(**FeatureStore(task).batch(tiny.read_clips(clips_path)[:2]))
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))


def test_no_4_bit_layer_repacks_itself(tmp_path: Path, clips_path: Path, ctc_path: Path) -> None:
    _, _, model = _adapted(tmp_path, ctc_path, clips_path)
    layers = quantize.quantised_layers(model).values()
    assert layers
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


def test_layers_that_cannot_be_packed_stay_out_of_4_bits(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    """The feature projection takes 80 numbers: one block of 64 and a quarter."""
    _, _, model = _adapted(tmp_path, ctc_path, clips_path)
    packed = quantize.quantised_layers(model)
    assert not [name for name in packed if "feature_projection" in name]
    assert all(layer.in_features % 64 == 0 and layer.out_features % 32 == 0 for layer in packed.values())


def test_rows_of_whole_blocks_go_into_4_bits_and_others_do_not() -> None:
    from transformers import MoonshineConfig, MoonshineForConditionalGeneration

    def packed(width: int, ffn: int) -> set[str]:
        config = MoonshineConfig(
            vocab_size=64, hidden_size=width, intermediate_size=ffn, encoder_num_hidden_layers=1,
            decoder_num_hidden_layers=1, encoder_num_attention_heads=2, decoder_num_attention_heads=2,
        )  # fmt: skip
        skipped = quantize.skipped_layers(MoonshineForConditionalGeneration, config, ["proj_out"])
        with torch.device("meta"):
            model = MoonshineForConditionalGeneration(config)
        linear = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        return {name.rsplit(".", 1)[-1] for name in linear - set(skipped) - {"proj_out"}}

    assert packed(64, 128) == {"q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"}
    assert packed(96, 128) == {"fc2"}, "what reads 96 values has no whole blocks"
    assert packed(96, 160) == set()


def test_an_encoder_stays_whole_where_asked_and_is_adapted_all_the_same(
    tmp_path: Path, clips_path: Path, whisper_path: Path
) -> None:
    _, _, model = _adapted(
        tmp_path, whisper_path, clips_path, target_modules="all-linear", whole_encoder=True
    )
    packed = quantize.quantised_layers(model)
    assert len(packed) == 10  # the decoder attends twice, and its feed-forward layers are two
    assert all(".decoder." in name for name in packed)
    adapted = [name for name, _ in model.named_modules() if name.endswith("lora_A")]
    assert len([name for name in adapted if ".encoder." in name]) == 6


def test_a_model_without_a_decoder_is_packed_whatever_its_encoder_is_to_be(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    packed = [
        quantize.quantised_layers(_adapted(tmp_path, ctc_path, clips_path, whole_encoder=whole)[2]).keys()
        for whole in (False, True)
    ]
    assert packed[0] == packed[1]


def test_what_is_not_4_bit_is_float32_and_checkpointing_is_off(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    spec, _, model = _adapted(tmp_path, ctc_path, clips_path)
    dtypes = {p.dtype for p in model.parameters()}
    assert dtypes == {torch.uint8, torch.float32}
    assert not model.get_base_model().is_gradient_checkpointing
    assert quantize.compute_dtype(spec.train.qlora, "cpu") is torch.float32


def test_ctc_losses_are_means_and_never_infinite(tmp_path: Path, clips_path: Path, ctc_path: Path) -> None:
    config = json.loads((ctc_path / "config.json").read_text())
    assert config["ctc_loss_reduction"] == "sum"  # the library's default
    _, _, model = _adapted(tmp_path, ctc_path, clips_path)
    assert model.config.ctc_loss_reduction == "mean"
    assert model.config.ctc_zero_infinity


@pytest.mark.parametrize(
    ("choice", "n_layers", "expected"),
    [
        ("attention", 8, "linear_"),
        (["linear_q"], 2, "linear_q"),
        (["wav2vec2_bert.encoder.layers.0.self_attn.linear_v"], 1, "linear_v"),
    ],
)
def test_targets(choice: Any, n_layers: int, expected: str, ctc_path: Path) -> None:
    from transformers import Wav2Vec2BertForCTC

    model = Wav2Vec2BertForCTC.from_pretrained(ctc_path)
    found = lora.find_targets(model, choice, families.FAMILIES["wav2vec2-bert"])
    assert len(found) == n_layers
    assert all(expected in name for name in found)


def test_auto_is_every_linear_layer_but_the_head(ctc_path: Path) -> None:
    from transformers import Wav2Vec2BertForCTC

    model = Wav2Vec2BertForCTC.from_pretrained(ctc_path)
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert set(lora.find_targets(model, "auto", families.FAMILIES["wav2vec2-bert"])) == linear - {"lm_head"}


def test_a_target_the_model_does_not_have_is_named(ctc_path: Path) -> None:
    from transformers import Wav2Vec2BertForCTC

    model = Wav2Vec2BertForCTC.from_pretrained(ctc_path)
    with pytest.raises(ModelNotUsable, match=r"q_proj.*It has: .*linear_q"):
        lora.find_targets(model, ["q_proj"], families.FAMILIES["wav2vec2-bert"])


def test_whispers_decoder_is_adapted_alone_where_asked(
    tmp_path: Path, clips_path: Path, whisper_path: Path
) -> None:
    _, task, model = _adapted(tmp_path, whisper_path, clips_path, target_modules="decoder")
    adapted = [name for name, p in model.named_parameters() if p.requires_grad]
    assert adapted
    assert all(".decoder." in name for name in adapted)
    clips = tiny.read_clips(clips_path)[:3]
    model.eval()
    with torch.no_grad():
        plain = model(**FeatureStore(task).batch(clips)).logits
        assert task.speed_up(model)
        batch = FeatureStore(task).batch(clips)
        reused = model(**batch).logits
    assert "input_features" not in batch
    assert torch.allclose(plain, reused, atol=1e-5)


def test_a_model_without_a_decoder_says_so(ctc_path: Path) -> None:
    from transformers import Wav2Vec2BertForCTC

    model = Wav2Vec2BertForCTC.from_pretrained(ctc_path)
    with pytest.raises(ModelNotUsable, match="no decoder"):
        lora.find_targets(model, "decoder", families.FAMILIES["wav2vec2-bert"])


def test_an_adapted_encoder_is_not_reused(tmp_path: Path, clips_path: Path, whisper_path: Path) -> None:
    _, task, model = _adapted(tmp_path, whisper_path, clips_path, target_modules="attention")
    assert any(".encoder." in name for name, p in model.named_parameters() if p.requires_grad)
    assert not task.speed_up(model)


@pytest.mark.parametrize(("shortest_s", "masks"), [(0.15, False), (0.6, True)])
def test_a_batch_of_very_short_clips_is_not_masked_to_death(
    shortest_s: float, masks: bool, tmp_path: Path, clips_path: Path, waveform_paths: dict[str, Path]
) -> None:
    _, task, model = _adapted(tmp_path, waveform_paths["wav2vec2"], clips_path)
    base = model.get_base_model()
    base.config.mask_time_prob, base.config.apply_spec_augment = 0.5, True
    base.wav2vec2.masked_spec_embed = torch.nn.Parameter(torch.zeros(64), requires_grad=False)
    clip = tiny.read_clips(clips_path)[0].model_copy(update={"duration_s": shortest_s})
    task.prepare(base, ClipSets([clip], [], {}))
    assert base.config.apply_spec_augment is masks
    sound = np.random.default_rng(0).standard_normal(round(shortest_s * tiny.RATE)).astype(np.float32)
    assert torch.isfinite(model.train()(**task.collate([task.features(sound)], [[3]])).loss)


def test_padded_and_lone_clips_give_the_same_output(tmp_path: Path, clips_path: Path, ctc_path: Path) -> None:
    _, task, model = _adapted(tmp_path, ctc_path, clips_path)
    store = FeatureStore(task)
    clips = sorted(tiny.read_clips(clips_path), key=lambda clip: clip.duration_s)
    short, long = clips[0], clips[-1]
    model.eval()
    with torch.no_grad():
        alone = model(**store.batch([short])).logits[0]
        padded = model(**store.batch([short, long])).logits[0, : len(alone)]
    assert torch.allclose(alone, padded, atol=1e-4)


def test_refusals_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ModelNotUsable, match=r"config\.json"):
        families.read_config(tmp_path)
    with pytest.raises(ModelNotUsable, match="bert cannot train"):
        families.family_of({"model_type": "bert"}, Task.SPEECH_TO_TEXT)


def test_a_waveform_family_trains_end_to_end(
    tmp_path: Path, clips_path: Path, waveform_paths: dict[str, Path]
) -> None:
    spec = tiny.make_spec(tmp_path, waveform_paths["wav2vec2-conformer"], clips_path)
    result = run(spec)
    assert result.reason is ExitReason.OK
    assert result.metrics["loss"] < result.base_metrics["loss"]  # type: ignore[operator]


def test_bits_decide_the_quantisation(ctc_path: Path) -> None:
    from transformers import AutoConfig, Wav2Vec2BertForCTC

    family = families.FAMILIES["wav2vec2-bert"]
    config = AutoConfig.from_pretrained(ctc_path)
    for bits, is_packed in ((4, True), (16, False), (32, False)):
        found = quantize.quantization_config(
            QLoraSpec(), family, "cpu", bits=bits, model_class=Wav2Vec2BertForCTC, config=config
        )
        assert (found is not None) is is_packed
