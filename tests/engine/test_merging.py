"""An adapter merged into its base: the same outputs in plain transformers, or nothing is kept."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qlora_studio.contracts.merging import REPORT, MergeRequest
from qlora_studio.engine import merging
from qlora_studio.engine.refusals import Refused
from qlora_studio.modelfiles.check import check_folder
from tests.engine import adapters
from tests.training import melodies, tiny, tones, voices

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:Support for mismatched key_padding_mask"
    ),
]


def _made(root: Path, family: str, **qlora: Any) -> Any:
    """The spec of a run whose adapter changes every output."""
    if family == "musicgen":
        clips = melodies.write_melodies(root / "clips")
        spec = melodies.make_spec(root, melodies.make_musicgen(root / "model"), clips)
    elif family == "speecht5":
        clips = melodies.write_melodies(root / "clips")
        spec = melodies.make_spec(root, melodies.make_speecht5(root / "model"), clips)
    elif family == "speakers":
        model = tones.MAKERS["wav2vec2"](root / "model")
        spec = voices.make_spec(root, model, voices.write_voices(root / "clips"))
    elif family in tones.MAKERS:
        clips = tones.write_tones(root / "clips")
        spec = tones.make_spec(root, tones.MAKERS[family](root / "model"), clips)
    else:
        make = tiny.make_whisper if family == "whisper-text" else tiny.make_wav2vec2_bert
        clips = tiny.write_clips(root / "clips")
        spec = tiny.make_spec(root, make(root / "model"), clips, qlora=qlora)
    adapters.make_adapter(spec, root / "adapter")
    return spec


def _request(spec: Any, **values: Any) -> MergeRequest:
    root = spec.run_path
    return MergeRequest(
        **{
            "task": spec.task,
            "model_path": spec.model_path,
            "adapter_path": root / "adapter",
            "target_path": root / "merged",
            "clips_path": spec.clips_path,
            **values,
        }
    )


@pytest.mark.parametrize(
    "family",
    [
        "ctc",
        "whisper-text",
        "musicgen",
        "speecht5",
        "speakers",
        "wav2vec2-conformer",
        "audio-spectrogram-transformer",
        "wavlm",
    ],
)
def test_merged_weights_say_the_same_as_base_and_adapter(family: str, tmp_path: Path) -> None:
    spec = _made(tmp_path, family)
    for bits, dtype in ((16, torch.float16), (32, torch.float32)):
        report = merging.merge(_request(spec, bits=bits))
        assert report.relative < report.tolerance
        assert report.relative < (2e-3 if bits == 16 else 1e-5)
        assert not report.is_synthetic
        stored = load_file(tmp_path / "merged" / "model.safetensors")
        assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {dtype}
    checked = check_folder(tmp_path / "merged", roots=(), task=spec.task)  # can be trained again
    model = getattr(transformers, checked.architecture).from_pretrained(tmp_path / "merged")
    assert not hasattr(model.config, "quantization_config")
    assert not any("lora" in name for name in stored)


@pytest.mark.slow
def test_a_whole_encoder_is_merged_whole(tmp_path: Path) -> None:
    merging.merge(_request(_made(tmp_path, "whisper-text", whole_encoder=True), bits=32))
    name = "model.encoder.layers.0.self_attn.out_proj.weight"  # without an adapter: as it was published
    files = [load_file(tmp_path / part / "model.safetensors")[name] for part in ("model", "merged")]
    assert torch.equal(*files)


def test_an_adapter_of_preference_tuning_is_compared_on_the_preferred_sounds(tmp_path: Path) -> None:
    report = merging.merge(
        _request(_made(tmp_path, "musicgen"), clips_path=melodies.write_pairs(tmp_path / "pairs"))
    )
    assert (report.is_synthetic, report.n_clips > 0) == (False, True)


@pytest.mark.parametrize("family", ["ctc", "speecht5"])
def test_without_clips_made_up_ones_are_compared(family: str, tmp_path: Path) -> None:
    report = merging.merge(_request(_made(tmp_path, family), clips_path=None))
    assert report.is_synthetic
    assert "made-up" in report.sentence


def test_a_model_that_says_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = _made(tmp_path, "ctc")
    real = merging._write

    def disturbed(merged: Any, task: Any, folder: Path, request: Any) -> None:
        real(merged, task, folder, request)
        stored = load_file(folder / "model.safetensors")
        stored["lm_head.bias"] = stored["lm_head.bias"] + 1.0
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(merging, "_write", disturbed)
    with pytest.raises(Refused, match="not say the same"):
        merging.merge(_request(spec))
    assert not (tmp_path / "merged").exists()
    assert not list(tmp_path.glob(".merged*"))


def test_not_a_number_is_never_the_same() -> None:
    with pytest.raises(Refused, match="32 bits"):
        merging.compare([torch.ones(4)], [torch.full((4,), torch.nan)], bits=16, is_synthetic=False)


def test_a_full_disk_is_named_whoever_met_it() -> None:
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ):
        assert merging._why(error).startswith("The disk is full.")


def test_the_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    spec = _made(tmp_path, "ctc")
    other = tiny.make_waveform_ctc(tmp_path / "other", "wav2vec2")
    with pytest.raises(Refused, match="does not fit"):
        merging.merge(_request(spec, model_path=other))
    assert not (tmp_path / "merged" / REPORT).exists()
