"""Orders answered by the desk: bases in half precision, which every kind of model must be able to use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlora_studio.audio.turns import Turn
from qlora_studio.contracts.enums import Task, TrainingType
from qlora_studio.contracts.inference import EngineRequest, SoundWish, Variant
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.engine import memory
from qlora_studio.engine.channel import Order
from qlora_studio.engine.desk import Desk
from tests.engine import adapters
from tests.training import melodies, tiny, tones, voices

# The library deprecates a name that it uses itself; the engine's log may have it.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
HALF: dict[str, Any] = {"training_type": TrainingType.LORA, "qlora": {"bits": 16}}
SOUND = np.sin(np.arange(tiny.RATE) * 0.3).astype(np.float32) * 0.3


def _speech(make: Callable[[Path], Path]) -> Callable[[Path], WorkerSpec]:
    return lambda root: tiny.make_spec(
        root, make(root / "model"), tiny.write_clips(root / "clips", n_train=2), **HALF
    )


def _classes(root: Path) -> WorkerSpec:
    clips = tones.write_tones(root / "clips", n_train=6, n_validation=0)
    return tones.make_spec(root, tones.make_ast(root / "model"), clips, **HALF)


def _speakers(root: Path) -> WorkerSpec:
    said = [Turn(0.2 * index, 0.4, f"s{index}") for index in range(2)]
    clips = tones.write_listing(root / "clips.jsonl", [voices.write_recording(root, "a", said, 1.5)])
    return voices.make_spec(root, tiny.make_waveform_ctc(root / "model", "wav2vec2"), clips, **HALF)


def _sounds(make: Callable[[Path], Path]) -> Callable[[Path], WorkerSpec]:
    return lambda root: melodies.make_spec(
        root,
        make(root / "model"),
        melodies.write_melodies(root / "clips", n_train=2, n_validation=0),
        **HALF,
    )


KINDS: dict[str, Callable[[Path], WorkerSpec]] = {
    "ctc": _speech(lambda path: tiny.make_waveform_ctc(path, "wav2vec2")),
    "whisper": _speech(tiny.make_whisper),
    "moonshine": _speech(tiny.make_moonshine),
    "classes": _classes,
    "speakers": _speakers,
    "musicgen": _sounds(melodies.make_musicgen),
    "speecht5": _sounds(melodies.make_speecht5),
}


class _Nobody:
    """The other end of the pipes: takes what is sent and cancels nothing."""

    def send(self, content: dict[str, Any]) -> None:
        pass

    def is_cancelled(self, order_id: int) -> bool:
        return False


@pytest.mark.parametrize("kind", ["ctc", *(pytest.param(k, marks=pytest.mark.slow) for k in [*KINDS][1:])])
def test_adapters_on_a_base_in_16_bits_answer(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "bound", lambda: None)  # it is for a process of its own
    spec = KINDS[kind](tmp_path)
    adapters.make_adapter(spec, tmp_path / "adapter", seed=1)
    given: dict[str, Any] = {"samples_path": adapters.write_samples(tmp_path / "sound.f32", SOUND)}
    if spec.task is Task.TEXT_TO_AUDIO:
        given = {"sound": SoundWish(prompt="abc", seconds=0.3, seed=2, path=tmp_path / "a.wav")}
    request = EngineRequest(
        id=1,
        task=spec.task,
        model_path=spec.model_path,
        variants=[Variant(adapter_path=tmp_path / "adapter"), Variant()],
        device="cpu",
        **given,
    )
    heard = Desk().answer(request, Order(_Nobody(), {"id": 1})).heard  # type: ignore[arg-type]
    adapted, alone = (
        h.text if h.text is not None else h.classes or h.segments or h.sound_path for h in heard
    )
    assert adapted is not None
    assert alone is not None
    assert spec.task is Task.SPEECH_TO_TEXT or adapted != alone
