"""The real inference process over its pipes: two variants, another model, cancelled, refused, orphaned."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from tests.engine import adapters
from tests.training import melodies, tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


class Engine:
    """The process, asked line by line."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qlora_studio.engine"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._n_asked = 0

    def send(self, content: dict[str, Any]) -> None:
        self.process.stdin.write(json.dumps(content).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, request: dict[str, Any]) -> int:
        self._n_asked += 1
        self.send({**request, "id": self._n_asked})
        return self._n_asked

    def line(self) -> dict[str, Any]:
        return json.loads(self.process.stdout.readline())

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self.ask(request)
        while "progress" in (said := self.line()):
            pass
        return said


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    opened = Engine()
    yield opened
    opened.process.kill()
    opened.process.communicate()


@pytest.fixture(scope="module")
def request_for(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("models")
    clips = tiny.write_clips(root / "clips", n_train=2)
    model = tiny.make_whisper(root / "whisper")
    adapters.make_adapter(tiny.make_spec(root, model, clips), root / "adapter")
    sound = np.random.default_rng(0).standard_normal(tiny.RATE).astype(np.float32) * 0.1
    samples = adapters.write_samples(root / "sound.f32", sound)
    return {
        "task": "speech-to-text",
        "model_path": str(model),
        "samples_path": str(samples),
        "sample_rate": tiny.RATE,
        "variants": [{"adapter_path": str(root / "adapter")}, {}],
        "device": "cpu",
    }


def test_two_variants_of_one_clip_and_then_without_loading(
    engine: Engine, request_for: dict[str, Any]
) -> None:
    first = engine.answer(request_for)["answer"]
    assert first["load_s"] > 0
    assert first["heard_s"] == pytest.approx(1.0)
    texts = [heard["text"] for heard in first["heard"]]
    assert texts[0] != texts[1]
    again = engine.answer(request_for)["answer"]
    assert again["load_s"] == 0
    assert [heard["text"] for heard in again["heard"]] == texts
    none = {**request_for, "variants": [{**request_for["variants"][0], "strength": 0.0}]}
    assert engine.answer(none)["answer"]["heard"][0]["text"] == texts[1]


def test_a_model_that_cannot_be_loaded_is_refused_without_naming_a_path(
    engine: Engine, request_for: dict[str, Any], tmp_path: Path
) -> None:
    refusal = engine.answer({**request_for, "model_path": str(tmp_path), "variants": [{}]})["refusal"]
    assert "config.json" in refusal
    assert str(tmp_path) not in refusal
    missing = engine.answer({**request_for, "samples_path": str(tmp_path / "gone.f32")})["refusal"]
    assert "Choose it again" in missing
    foreign = engine.answer({**request_for, "variants": [{"adapter_path": str(tmp_path)}]})["refusal"]
    assert "adapter's files" in foreign


def test_a_cancel_is_heeded_between_words(
    engine: Engine, request_for: dict[str, Any], tmp_path: Path
) -> None:
    engine.answer(request_for)  # so that it is loaded
    sound = np.random.default_rng(0).standard_normal(600 * tiny.RATE).astype(np.float32) * 0.1
    long = {**request_for, "samples_path": str(adapters.write_samples(tmp_path / "long.f32", sound))}
    number = engine.ask(long)
    assert engine.line()["progress"]["label"] == "Listening"
    started = time.monotonic()
    engine.send({"cancel": number})
    while "progress" in (said := engine.line()):
        pass
    assert said == {"id": number, "is_cancelled": True}
    assert time.monotonic() - started < 10
    assert "answer" in engine.answer(request_for)


def test_a_sound_is_made_at_a_seed_in_every_variant(engine: Engine, tmp_path: Path) -> None:
    model = melodies.make_musicgen(tmp_path / "musicgen")
    clips = melodies.write_melodies(tmp_path / "clips", n_train=2, n_validation=0)
    adapters.make_adapter(melodies.make_spec(tmp_path, model, clips), tmp_path / "adapter")
    sound = {"prompt": "a low tone", "seconds": 0.5, "seed": 3, "path": str(tmp_path / "snd.wav")}
    request = {
        "task": "text-to-audio",
        "model_path": str(model),
        "sound": sound,
        "variants": [{"adapter_path": str(tmp_path / "adapter")}, {}],
        "device": "cpu",
    }
    heard = engine.answer(request)["answer"]["heard"]
    paths = [Path(variant["sound_path"]) for variant in heard]
    assert [path.name for path in paths] == ["snd.wav", "snd-1.wav"]
    made = [path.read_bytes() for path in paths]
    assert made[0] != made[1]
    assert soundfile.info(paths[0]).duration == pytest.approx(0.5, abs=0.05)
    engine.answer(request)
    assert [path.read_bytes() for path in paths] == made


def test_it_ends_with_whoever_started_it(request_for: dict[str, Any]) -> None:
    script = (
        "import subprocess, sys, os\n"
        "p = subprocess.Popen([sys.executable, '-m', 'qlora_studio.engine'], stdin=subprocess.PIPE,"
        " stdout=subprocess.PIPE, start_new_session=True)\n"
        f"p.stdin.write({json.dumps(json.dumps({**request_for, 'id': 1}))}.encode() + b'\\n')\n"
        "p.stdin.flush()\n"
        "p.stdout.readline()\n"
        "print(p.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    engine = int(done.stdout)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(engine) and psutil.Process(engine).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it goes on by itself"
        time.sleep(0.05)
