"""The embedded sound model: small, safe, of a supported family, and it follows its words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors import safe_open

from qlora_studio.contracts.enums import Task
from qlora_studio.examples.catalog import SOUND_PROMPTS, STARTER_SOUND, starter_model_path
from scripts.starter_sound import prompts, sounds
from scripts.starter_sound.ears import centroid_of, decay_of, note_of, pitch_of

MAX_BYTES = 16_000_000
FOLDER = starter_model_path("sound")


def test_only_small_files_of_known_kinds() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]

    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors"}
    assert 1_000_000 < sum(path.stat().st_size for path in files) <= MAX_BYTES


def test_weights_are_halves_that_load_as_floats() -> None:
    with safe_open(FOLDER / "model.safetensors", framework="numpy") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118

    assert kinds == {"F16"}
    assert json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))["dtype"] == "float32"


def test_the_studio_takes_it() -> None:
    from qlora_studio.modelfiles.check import check_folder

    checked = check_folder(FOLDER)

    assert checked.task is Task.TEXT_TO_AUDIO
    assert checked.architecture == "MusicgenForConditionalGeneration"


def test_card_states_licence_and_figures() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")

    assert f"license: {STARTER_SOUND.licence.lower()}" in card
    assert "kind of sound |" in card
    assert "{" not in card


def test_every_word_of_a_prompt_is_known() -> None:
    rng = np.random.default_rng(0)
    known = set(prompts.words())

    for _ in range(500):
        said = prompts.describe(sounds.draw(rng), rng)
        assert set(said.replace(",", " ").split()) <= known, said
    for _, offered in SOUND_PROMPTS:
        assert set(offered.replace(",", " ").split()) <= known


@pytest.mark.parametrize("kind", ["plucked string", "wooden bar", "organ"])
def test_ears_hear_the_note_of_a_formula(kind: str) -> None:
    rng = np.random.default_rng(1)
    for note in ("c", "f sharp", "b"):
        asked = sounds.Sound(kind, "middle", note)
        assert note_of(pitch_of(sounds.make(asked, rng)))[1] == note


def test_formulas_follow_length_and_colour() -> None:
    rng = np.random.default_rng(2)
    for kind in sounds.KINDS:
        short, long = (sounds.make(sounds.Sound(kind, "low", "c", end), rng) for end in ("short", "long"))
        dark, bright = (
            sounds.make(sounds.Sound(kind, "low", "c", "", end), rng) for end in ("dark", "bright")
        )
        assert decay_of(short) < decay_of(long)
        assert centroid_of(dark) < centroid_of(bright)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_words_are_heard_in_what_the_inference_process_makes(tmp_path: Path) -> None:
    from tests.engine.test_process import Engine

    engine = Engine()

    def make(prompt: str, seed: int) -> np.ndarray:
        path = tmp_path / f"{seed}.wav"
        request: dict[str, Any] = {
            "task": "text-to-audio",
            "model_path": str(FOLDER),
            "sound": {"prompt": prompt, "seconds": 1.6, "seed": seed, "path": str(path)},
            "variants": [{}],
            "device": "cpu",
        }
        assert "answer" in engine.answer(request)
        return soundfile.read(path)[0]

    try:
        low = [pitch_of(make("a long low organ, note c", seed)) for seed in range(5)]
        high = [pitch_of(make("a long high organ, note c", seed)) for seed in range(5)]
        short = [decay_of(make("a short middle bell, note a", seed)) for seed in range(5)]
        long = [decay_of(make("a long middle bell, note a", seed)) for seed in range(5)]
    finally:
        engine.process.kill()
        engine.process.communicate()
    assert np.median(low) == pytest.approx(130.8, rel=0.06)
    assert np.median(high) == pytest.approx(523.3, rel=0.06)
    assert 1.5 * np.median(short) < np.median(long)
