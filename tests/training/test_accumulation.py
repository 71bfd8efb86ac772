"""Batches in parts: accumulated, or cut where they would take much memory. The sum is that of the whole."""

from pathlib import Path
from typing import Any

import pytest

from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training.tasks import windows
from tests.training import tiny, tones
from tests.training.running import adapter_tensors, run

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def _steps(spec: WorkerSpec) -> list[tuple[float, float]]:
    """(loss, gradient) of each step"""
    run(spec)
    events = tiny.read_events(spec, "metric")
    return [(event["values"]["loss"], event["values"]["grad_norm"]) for event in events]


def _settings(**optimization: Any) -> dict[str, Any]:
    steps = {"max_steps": 3, "learning_rate": 1e-3, "mode": "exact", **optimization}
    return {"optimization": steps, "evaluation": {"every_steps": 100, "n_samples": 0}}


def _is_same(found: WorkerSpec, expected: WorkerSpec) -> bool:
    pairs = [(adapter_tensors(found)[name], tensor) for name, tensor in adapter_tensors(expected).items()]
    return all((a - b).abs().max() < 1e-4 for a, b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ctc", "whisper"])
def test_accumulated_batches_add_up_to_the_large_one(
    family: str, tmp_path: Path, clips_path: Path, request: pytest.FixtureRequest
) -> None:
    """Texts of different lengths count by what the loss is a mean over: tokens or clips."""
    model = request.getfixturevalue(f"{family}_path")
    large = tiny.make_spec(tmp_path / "large", model, clips_path, **_settings(batch_size=4))
    parts = _settings(batch_size=2, gradient_accumulation=2)
    small = tiny.make_spec(tmp_path / "small", model, clips_path, **parts)
    for found, expected in zip(_steps(small), _steps(large), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)
    assert _is_same(small, large)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["whisper", "ast"])
def test_a_standard_window_goes_through_in_pieces(
    family: str, tmp_path: Path, clips_path: Path, whisper_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "is_standard", lambda labels: True)
    if family == "whisper":
        model, clips, make_spec = whisper_path, clips_path, tiny.make_spec
    else:
        model = tones.make_ast(tmp_path / "model")
        clips, make_spec = tones.write_tones(tmp_path / "tones"), tones.make_spec
    pieces = make_spec(tmp_path / "pieces", model, clips, **_settings(mode="fast"))
    found = _steps(pieces)
    monkeypatch.setattr(windows, "STANDARD_ROWS", 100)
    whole = make_spec(tmp_path / "whole", model, clips, **_settings(mode="fast"))
    for some, expected in zip(found, _steps(whole), strict=True):
        assert some == pytest.approx(expected, rel=1e-3)
    assert _is_same(pieces, whole)
