"""Trying a job: it fails where the job would, with its sentence, and leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import rehearsal
from qlora_studio.training.failures import BadData
from tests.training import tiny


def _rehearse(spec: WorkerSpec) -> Any:
    from qlora_studio.training.loop import TrainingRun

    tiny.write_spec(spec)
    return rehearsal.rehearse(spec, lambda _: TrainingRun, {})


def test_the_spec_is_cut_short_and_the_rest_stays(tmp_path: Path) -> None:
    wanted = {"batch_size": 5, "devices": 2, "max_steps": None, "epochs": 3.0, "scheduler": "range_test"}
    spec = tiny.make_spec(tmp_path, tmp_path, tmp_path, optimization=wanted, qlora={"rank": 7})
    small = rehearsal.cut_short(spec, tmp_path / "else")
    chosen = small.train.optimization
    assert (chosen.batch_size, chosen.devices, chosen.max_steps, chosen.epochs) == (
        3,
        1,
        rehearsal.STEPS,
        None,
    )
    assert chosen.scheduler == "constant"
    assert small.train.qlora == spec.train.qlora
    assert small.run_path == small.attempt_path == tmp_path / "else"


def test_clips_are_read_until_one_cannot_be_or_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    assert rehearsal.read_all([1, 2, 3], read.append, lambda: None) == 3

    def refuse(_: int) -> None:
        raise BadData("Clip 1 cannot be read.")

    with pytest.raises(BadData):
        rehearsal.read_all([1], refuse, lambda: None)
    monkeypatch.setattr(rehearsal, "DECODE_S", -1.0)
    assert rehearsal.read_all([1, 2, 3], read.append, lambda: None) == 0
    assert read == [1, 2, 3]


@pytest.mark.slow
def test_a_job_that_works_is_measured_and_leaves_nothing(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    spec = tiny.make_spec(tmp_path, ctc_path, clips_path)
    report = _rehearse(spec)
    assert report.ok, report.message
    assert (report.n_clips, report.n_clips_read, report.device) == (16, 16, "cpu")
    assert min(report.step_s, report.peak_rss_bytes, report.checkpoint_bytes, report.result_bytes) > 0
    assert [path.name for path in spec.attempt_path.iterdir()] == ["spec.json"]
    assert [path.name for path in spec.run_path.iterdir()] == [spec.attempt_path.name]


@pytest.mark.slow
def test_a_clip_that_cannot_be_decoded_is_named_even_if_it_is_short(tmp_path: Path, ctc_path: Path) -> None:
    listing = tiny.write_clips(tmp_path / "clips")
    clips = [json.loads(line) for line in listing.read_text().splitlines()]
    shortest = min(clips, key=lambda clip: clip["duration_s"])
    Path(shortest["path"]).write_bytes(b"RIFF and nothing that follows")
    report = _rehearse(tiny.make_spec(tmp_path / "run", ctc_path, listing))
    assert (report.ok, report.reason) == (False, ExitReason.BAD_DATA)
    assert shortest["id"] in report.message


@pytest.mark.slow
def test_wrong_targets_are_refused_as_by_the_job(tmp_path: Path, clips_path: Path, ctc_path: Path) -> None:
    spec = tiny.make_spec(tmp_path, ctc_path, clips_path, qlora={"target_modules": ["q_projection"]})
    report = _rehearse(spec)
    assert (report.ok, report.reason) == (False, ExitReason.MODEL_LOAD)
    assert "q_projection" in report.message


@pytest.mark.slow
def test_too_little_memory_is_told_as_that(tmp_path: Path, ctc_path: Path) -> None:
    """The libraries fit well into the bound and the batch does not: one allocation fails, always the same."""
    folder = tmp_path / "clips"
    folder.mkdir()
    sound = 0.1 * np.random.default_rng(0).standard_normal(30 * tiny.RATE)
    soundfile.write(folder / "long.wav", sound, tiny.RATE, subtype="PCM_16")
    clip = {"path": str(folder / "long.wav"), "duration_s": 30.0, "text": "ab ba"}
    splits = ["train"] * 32 + ["validation"]
    clips = [{"id": f"clip_{index}", "split": split, **clip} for index, split in enumerate(splits)]
    (folder / "clips.jsonl").write_text("\n".join(json.dumps(clip) for clip in clips))
    spec = tiny.make_spec(tmp_path, ctc_path, folder / "clips.jsonl", optimization={"batch_size": 32})
    command = [sys.executable, "-m", "qlora_studio.training", "rehearse", str(tiny.write_spec(spec))]
    done = subprocess.run([*command, "--memory", "1200000000"], capture_output=True, text=True, timeout=120)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], report["reason"]) == (1, False, "oom_host"), done.stderr


def test_what_fails_at_the_bound_is_told_as_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal.resource, "getrlimit", lambda _: (1000, 2000))
    assert [rehearsal.is_at_bound(n_bytes) for n_bytes in (None, 500, 899, 901, 1100)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    monkeypatch.setattr(rehearsal.resource, "getrlimit", lambda _: (rehearsal.resource.RLIM_INFINITY,) * 2)
    assert not rehearsal.is_at_bound(10**12)
