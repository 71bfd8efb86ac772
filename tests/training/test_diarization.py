"""Speaker diarization on tiny models: losses, windows and error rates by hand; every family in 4 bits."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from qlora_studio.audio.turns import Turn, from_rttm, to_rttm
from qlora_studio.contracts.enums import ExitReason, Split, Task
from qlora_studio.contracts.spec import ClipItem, EvaluationSpec
from qlora_studio.training import diarization_error, families, quantize, recordings
from qlora_studio.training.clips import read_diarized_clips
from qlora_studio.training.failures import BadData
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.permutations import PADDING, permutation_free_loss
from qlora_studio.training.run_state import check_metric
from qlora_studio.training.tasks.base import Output
from qlora_studio.training.tasks.diarization import DiarizationTask
from qlora_studio.training.validation import validate
from tests.training import tiny, tones, voices
from tests.training.running import (
    adapter_bytes,
    losses,
    prepared,
    reload_in_plain_peft,
    run,
    run_and_keep,
    stop_at,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:Support for mismatched key_padding_mask"
)
FAMILIES = tuple(voices.MAKERS)
LONG_RUN = {"optimization": {"max_steps": 20}, "evaluation": {"every_steps": 20, "n_samples": 2}}


@pytest.fixture(scope="module")
def voices_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voices.write_voices(tmp_path_factory.mktemp("voices"))


@pytest.fixture(scope="module")
def model_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in voices.MAKERS.items()}


# Windows


def _talk(duration_s: float) -> ClipItem:
    said = [
        Turn(start, 4.0, f"s{index % 3}") for index, start in enumerate(np.arange(0, duration_s - 4, 4.0))
    ]
    return ClipItem(
        id="talk", path="x.wav", duration_s=duration_s, text=to_rttm("talk", said), split=Split.TRAIN
    )


def test_a_long_recording_is_learnt_in_pieces_that_lose_nothing() -> None:
    clip = _talk(50.0)
    pieces = recordings.cut_evenly(clip)
    assert [(round(p.start_s, 2), round(p.duration_s, 2)) for p in pieces] == [
        (0.0, 16.67), (16.67, 16.67), (33.33, 16.67),
    ]  # fmt: skip
    assert len({piece.id for piece in pieces}) == 3
    spoken = [sum(t.duration_s for t in from_rttm(c.text or "")) for c in (clip, *pieces)]
    assert spoken[0] == pytest.approx(sum(spoken[1:]), abs=0.01)
    assert recordings.cut_evenly(_talk(20.0)) == [_talk(20.0)]


def test_a_long_recording_is_heard_in_windows_that_overlap() -> None:
    pieces = recordings.cut_overlapping(_talk(50.0))
    assert [(piece.start_s, piece.duration_s) for piece in pieces] == [
        (0.0, 20.0),
        (15.0, 20.0),
        (30.0, 20.0),
    ]
    assert recordings.cut_overlapping(_talk(19.0)) == [_talk(19.0)]


def test_windows_are_joined_though_each_numbers_its_speakers_anew() -> None:
    truth = np.random.default_rng(0).random((100, 3)).astype(np.float32)
    orders = ([0, 1, 2], [2, 0, 1], [1, 0, 2])
    pieces = [(start, truth[start : start + 40][:, o]) for start, o in zip((0, 30, 60), orders, strict=True)]
    assert recordings.join(pieces) == pytest.approx(truth, abs=1e-6)


def test_a_part_of_a_recording_is_read_from_where_it_begins(
    tmp_path: Path, model_paths: dict[str, Path]
) -> None:
    said = [Turn(0.0, 20.0, "ann"), Turn(20.0, 10.0, "bob")]
    clip = voices.write_recording(tmp_path, "long", said, 30.0)
    listing = tones.write_listing(tmp_path / "clips.jsonl", [clip, clip.model_copy(update={"id": "other"})])
    task, _ = prepared(voices.make_spec(tmp_path, model_paths["wav2vec2"], listing))
    second = task.read_clips(listing).train[1]
    features = FeatureStore(task).features(second)["input_values"]
    samples, _ = soundfile.read(clip.path, dtype="float32", start=15 * tiny.RATE)
    assert features == pytest.approx(task.features(samples)["input_values"], abs=1e-5)
    assert from_rttm(second.text or "") == [Turn(0.0, 5.0, "ann"), Turn(5.0, 10.0, "bob")]


# What goes in and comes out


def _task(tmp_path: Path, model_paths: dict[str, Path], name: str = "wav2vec2") -> DiarizationTask:
    return DiarizationTask(model_paths[name], families.read_config(model_paths[name]))


def test_frames_are_labelled_where_their_middles_are(tmp_path: Path, model_paths: dict[str, Path]) -> None:
    task = _task(tmp_path, model_paths)
    assert task.frame_s == pytest.approx(0.02)
    said = [Turn(0.1, 0.2, "ann"), Turn(0.2, 0.3, "bob"), Turn(0.3, 0.01, "eve")]
    ids = task.encode(to_rttm("x", said))
    assert ids == [1, 100, 300, 0, 200, 500]  # Bob speaks most, Eve least: there is no room for her
    silence, half = np.zeros(tiny.RATE, dtype=np.float32), np.zeros(tiny.RATE // 2, dtype=np.float32)
    labels = task.collate([task.features(silence), task.features(half)], [ids, ids])["labels"]
    assert labels.shape == (2, 49, 2)  # as many frames as the encoder makes
    assert labels[0].sum(dim=0).tolist() == [15.0, 10.0]
    assert (labels[0].sum(dim=1) == 2).sum() == 5  # both
    assert (labels[1, 24:] == PADDING).all()
    assert (labels[1, :24] != PADDING).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_have_the_frames_of_the_model(
    family: str, tmp_path: Path, voices_path: Path, model_paths: dict[str, Path]
) -> None:
    task, base = prepared(voices.make_spec(tmp_path, model_paths[family], voices_path))
    batch = FeatureStore(task).batch(task.read_clips(voices_path).train[:3])
    with torch.no_grad():
        logits = base.eval()(**{k: v for k, v in batch.items() if k != "labels"}).logits
    assert logits.shape == batch["labels"].shape
    assert float(permutation_free_loss(logits, batch["labels"])) == pytest.approx(math.log(2), abs=0.06)
    assert task.expected_first_loss() == pytest.approx(math.log(2))


def test_turns_come_out_smoothed(tmp_path: Path, model_paths: dict[str, Path]) -> None:
    task = _task(tmp_path, model_paths)
    activity = np.zeros((100, 2), dtype=np.float32)
    activity[10:60, 0] = 0.9
    activity[30:33, 0] = 0.2  # a gap too short to be one
    activity[80:84, 0] = 0.9  # a cough
    activity[50:100, 1] = 0.51
    output = task._answer(activity)
    assert output.segments == [Turn(0.2, 1.0, "speaker_1"), Turn(1.0, 1.0, "speaker_2")]
    assert from_rttm(output.text) == output.segments
    nobody = task._answer(np.zeros((100, 2), dtype=np.float32))
    assert (nobody.text, nobody.segments) == ("", [])
    assert task.is_broken(output.text, nobody)
    assert not task.is_broken(output.text, output)


def test_clips_without_segments_are_left_out_and_late_segments_cut(tmp_path: Path) -> None:
    good = voices.write_recording(tmp_path, "a", [Turn(0.0, 0.5, "ann")], 1.0)
    late = good.model_copy(update={"id": "b", "text": to_rttm("a", [Turn(0.8, 5, "ann"), Turn(2, 1, "bob")])})
    words = good.model_copy(update={"id": "c", "text": "what was said"})
    none = good.model_copy(update={"id": "d", "text": None})
    listing = tones.write_listing(tmp_path / "clips.jsonl", [good, late, words, none])
    sets = read_diarized_clips(listing)
    assert sets.dropped == {"without segments": 2}
    assert [from_rttm(clip.text or "") for clip in sets.train] == [
        [Turn(0.0, 0.5, "ann")], [Turn(0.8, 0.2, "ann")],
    ]  # fmt: skip
    with pytest.raises(BadData, match=r"2 without segments\. Check the dataset's splits and segments"):
        read_diarized_clips(tones.write_listing(tmp_path / "bad.jsonl", [words, none]))


def test_there_are_as_many_outputs_as_speakers_in_a_recording(
    tmp_path: Path, model_paths: dict[str, Path]
) -> None:
    def head_for(n_speakers: int) -> tuple[Any, Any]:
        said = [Turn(0.1 * index, 0.3, f"s{index}") for index in range(n_speakers)]
        folder = tmp_path / str(n_speakers)
        clip = voices.write_recording(folder, "a", said, 1.2)
        listing = tones.write_listing(folder / "clips.jsonl", [clip])
        return prepared(voices.make_spec(folder, model_paths["wav2vec2"], listing))

    assert [head_for(n)[1].classifier.out_features for n in (1, 3)] == [2, 3]
    task, base = head_for(8)
    assert base.classifier.out_features == 6
    assert base.config.id2label[5] == "speaker_6"
    listing = tmp_path / "8" / "clips.jsonl"
    warnings = task.prepare(base, task.read_clips(listing))
    assert warnings == [
        ("speakers_left_out", "1 recordings have more than 6 speakers; who speaks least is left out.")
    ]


def test_a_model_for_so_many_speakers_keeps_its_head(
    tmp_path: Path, voices_path: Path, model_paths: dict[str, Path]
) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(model_paths["wav2vec2"])
    folder = tmp_path / "own"
    own = transformers.Wav2Vec2ForAudioFrameClassification(config)
    own.save_pretrained(folder)
    transformers.AutoFeatureExtractor.from_pretrained(model_paths["wav2vec2"]).save_pretrained(folder)
    task, base = prepared(voices.make_spec(tmp_path, folder, voices_path))
    assert torch.equal(base.classifier.weight, own.classifier.weight)
    assert (task.expected_first_loss(), task.loading_arguments()) == (None, "")


def test_a_model_with_a_head_for_whole_clips_gets_another(
    tmp_path: Path, voices_path: Path, model_paths: dict[str, Path]
) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(model_paths["wav2vec2"], classifier_proj_size=32)
    folder = tmp_path / "classes"
    transformers.Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    transformers.AutoFeatureExtractor.from_pretrained(model_paths["wav2vec2"]).save_pretrained(folder)
    task, base = prepared(voices.make_spec(tmp_path, folder, voices_path))
    assert base.classifier.weight.shape == (2, 64)
    assert task.expected_first_loss() == pytest.approx(math.log(2))


def test_families_without_such_a_head_are_refused(tmp_path: Path, voices_path: Path) -> None:
    hubert = tiny.make_waveform_ctc(tmp_path / "hubert", "hubert")
    report = validate(voices.make_spec(tmp_path, hubert, voices_path))
    assert "hubert cannot train speaker-diarization; these can: wav2vec2" in report["errors"][0]


def test_the_metric_that_decides() -> None:
    assert check_metric(EvaluationSpec(), Task.SPEAKER_DIARIZATION) == "der"
    with pytest.raises(BadData, match="Speaker diarization does not measure cer; choose one of der, loss"):
        check_metric(EvaluationSpec(metric="cer"), Task.SPEAKER_DIARIZATION)


# Whole runs


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_learns_leaves_its_base_alone_and_reloads_in_plain_peft(
    family: str, tmp_path: Path, voices_path: Path, model_paths: dict[str, Path]
) -> None:
    spec = voices.make_spec(tmp_path, model_paths[family], voices_path, **LONG_RUN)
    finished = run_and_keep(spec)
    seen, values = losses(spec), finished.state.last_values
    assert sum(seen[-5:]) < 0.95 * sum(seen[:5])
    assert values["der"] < finished.state.base_values["der"]
    assert values["loss"] < finished.state.base_values["loss"]

    fresh = prepared(spec)[1].state_dict()
    base = finished.model.get_base_model().state_dict()
    frozen = {name.replace(".base_layer", ""): tensor for name, tensor in base.items()}
    unchanged = [n for n in fresh if n in frozen and not n.startswith("classifier")]
    assert len(unchanged) > 30
    assert all(torch.equal(fresh[name], frozen[name]) for name in unchanged)

    packed = quantize.quantised_layers(finished.model)
    assert packed
    assert not [name for name in packed if "classifier" in name]
    adapted = [name for name, _ in finished.model.named_parameters() if "lora_" in name]
    barred = ("q_proj", "k_proj", "v_proj", "out_proj") if family == "wavlm" else ("classifier",)
    assert not [name for name in (*packed, *adapted) if set(barred) & set(name.split("."))]

    task, _ = prepared(spec)  # hears clips as plain transformers does, whatever made the run fast
    batch = FeatureStore(task).batch(finished.clips.validation)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    finished.model.eval()
    reloaded = reload_in_plain_peft(spec, families.DIARIZERS[family].model_class, n_labels=2)
    with torch.no_grad():
        assert torch.equal(finished.model(**inputs).logits, reloaded(**inputs).logits)


@pytest.mark.slow
def test_a_run_tells_its_errors_leaves_rttm_and_its_first_losses_are_the_golden_ones(
    tmp_path: Path, voices_path: Path, model_paths: dict[str, Path]
) -> None:
    spec = voices.make_spec(
        tmp_path,
        model_paths["wav2vec2"],
        voices_path,
        optimization={"max_steps": 4, "mode": "exact"},
        evaluation={"every_steps": 4, "n_samples": 2},
    )
    result = run(spec)
    assert losses(spec) == pytest.approx(GOLDEN_WAV2VEC2, abs=2e-3)
    assert result.reason is ExitReason.OK
    assert set(result.metrics) == {"der", "missed_speech", "false_alarm", "confusion", "loss"}
    parts = (result.metrics[name] or 0.0 for name in ("missed_speech", "false_alarm", "confusion"))
    assert result.metrics["der"] == pytest.approx(sum(parts))
    assert result.base_metrics["loss"] == pytest.approx(math.log(2), abs=0.06)
    assert result.extra["n_speakers"] == 2
    # By hand: 3.4 s are spoken in 3.9 s; one voice all the time is right for 0.7, 0.5 and 0.9 s, misses the
    # second one for 0.3 and 0.2 s and speaks in 0.1 + 0.1 + 0.3 + 0.1 + 0.2 + 0.2 s of silence.
    wrong = (3.4 - 0.7 - 0.5 - 0.9) + 1.0
    baselines = {"nobody": 1.0, "one_speaker": pytest.approx(wrong / 3.4, abs=0.03)}
    assert result.extra["baselines"] == baselines

    held_out = spec.run_path / "held-out"
    answers, references = ((held_out / f"{name}.rttm").read_text() for name in ("output", "reference"))
    clips = [clip for clip in tiny.read_clips(voices_path) if clip.split is Split.VALIDATION]
    assert references == "".join(f"{clip.text}\n" for clip in clips)
    assert {line.split()[1] for line in answers.splitlines()} <= {Path(clip.path).stem for clip in clips}

    about = json.loads((spec.run_path / "adapter" / "qlora_studio.json").read_text())
    assert about["inference"]["n_speakers"] == 2
    assert about["inference"]["frame_s"] == pytest.approx(0.02)
    card = (spec.run_path / "adapter" / "README.md").read_text()
    assert "speaker-diarization" in card
    assert "num_labels=2, ignore_mismatched_sizes=True" in card
    for event in tiny.read_events(spec, "sample"):
        answer = Output(event["now"], segments=from_rttm(event["now"]))
        rate = diarization_error.rates([(from_rttm(event["reference"]), answer.segments or [])])["der"]
        assert event["error"] == pytest.approx(rate, abs=1e-3)


GOLDEN_WAV2VEC2 = [0.6722, 0.6792, 0.6265, 0.5916]


@pytest.mark.slow
def test_a_resumed_run_with_pieces_ends_with_the_same_bytes(
    tmp_path: Path, model_paths: dict[str, Path]
) -> None:
    said = [Turn(2.0 * index, 2.0, "ann" if index % 2 else "bob") for index in range(15)]
    clips = [
        voices.write_recording(tmp_path, f"talk{index}", said, 31.0, split)
        for index, split in enumerate((Split.TRAIN, Split.TRAIN, Split.VALIDATION))
    ]
    listing = tones.write_listing(tmp_path / "clips.jsonl", clips)
    settings: dict[str, Any] = {
        "optimization": {"max_steps": 4, "batch_size": 2, "gradient_accumulation": 2},
        "evaluation": {"every_steps": 4, "save_every_steps": 2, "n_samples": 1},
    }
    whole = voices.make_spec(tmp_path / "whole", model_paths["wav2vec2"], listing, **settings)
    result = run(whole)
    assert result.extra["n_train"] == 4
    said_of = [event["message"] for event in tiny.read_events(whole, "warning")]
    assert "2 recordings are longer than 20 s and are learnt in pieces." in said_of
    last = max(turn.end_s for turn in from_rttm(tiny.read_events(whole, "sample")[-1]["now"]))
    assert 20.0 < last <= 31.0  # heard in two windows, told as one

    root = tmp_path / "stopped"
    run(voices.make_spec(root, model_paths["wav2vec2"], listing, **settings), on_attempt=stop_at(2))
    resumed = voices.make_spec(root, model_paths["wav2vec2"], listing, attempt=2, resume=True, **settings)
    run(resumed)
    assert adapter_bytes(resumed) == adapter_bytes(whole)
