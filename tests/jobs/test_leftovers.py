"""A run folder is in order after its attempt has ended, however it did."""

import os
from pathlib import Path

from qlora_studio.jobs import leftovers

NOBODY = 2**31 - 1  # beyond the largest pid


def test_half_written_files_go_and_all_else_stays(tmp_path: Path):
    run, attempt = tmp_path / "job", tmp_path / "job/attempt-1"
    kept = [
        run / "checkpoints/step-00000010/a",
        run / "adapter/b",
        attempt / "events.jsonl",
        attempt / f".stop.json.1.{os.getpid()}.partial",
        run / ".changed",
    ]
    gone = [
        run / "checkpoints/.partial-step-00000020/a",
        run / ".adapter.partial/b",
        run / ".adapter.old/b",
        attempt / f".result.json.1.{NOBODY}.partial",
        attempt / ".reserve",
    ]
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    leftovers.clear(run, attempt)
    assert sorted(p for p in run.rglob("*") if p.is_file()) == sorted(kept)
    assert not (run / ".adapter.old").exists()


def test_an_adapter_cut_off_between_two_renames_is_there_again(tmp_path: Path):
    run, attempt = tmp_path / "job", tmp_path / "job/attempt-2"
    attempt.mkdir(parents=True)
    (run / ".adapter.old").mkdir()
    (run / ".adapter.old/adapter_model.safetensors").write_text("the one before")
    leftovers.clear(run, attempt)
    assert (run / "adapter/adapter_model.safetensors").read_text() == "the one before"
    assert not (run / ".adapter.old").exists()


def test_a_run_without_anything_is_fine(tmp_path: Path):
    leftovers.clear(tmp_path / "none", tmp_path / "none/attempt-1")
    assert list(tmp_path.iterdir()) == []
