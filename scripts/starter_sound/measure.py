"""What the starter sound model can do: prompts it never met, heard by ears that never met it.

python -m scripts.starter_sound.measure [--model FOLDER] [--sounds 240] [--guidance 3] [--temperature 1]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from qlora_studio.examples.catalog import starter_model_path
from scripts.starter_sound import codec as codecs
from scripts.starter_sound.ears import Listener, judge
from scripts.starter_sound.prompts import describe
from scripts.starter_sound.sounds import RATE, Sound, draw, make

SEED = 20_000  # of prompts and sounds; the model learnt from others
_SECONDS = 1.6


def measure(
    folder: Path, *, n_sounds: int = 240, guidance: float = 3.0, temperature: float = 1.0
) -> dict[str, dict[str, float]]:
    """How far sounds follow their words, as shares from 0 to 1 (see `judge`).

    Args:
        folder: The model's.
        n_sounds: Of each way to make them.
        guidance: See `MusicgenTask.generate`.
        temperature: Likewise.

    Returns:
        By the way they were made: `formula`, `codec` (the same through the codec), `model`, and `shuffled`
        (the model's, for the words of another), which is what chance can do.
    """
    from qlora_studio.training.tasks.musicgen import MusicgenTask

    task = MusicgenTask(folder, json.loads((folder / "config.json").read_text(encoding="utf-8")))
    model = _load(folder)
    rng = np.random.default_rng(SEED)
    listener = Listener()
    asked = [_full(draw(rng), rng) for _ in range(n_sounds)]
    by_formula = [make(sound, rng) for sound in asked]
    codes = codecs.encode(model.audio_encoder, torch.from_numpy(np.stack(by_formula)))
    coded = codecs.decode(model.audio_encoder, codes)
    made: list[np.ndarray] = []
    for start in range(0, n_sounds, 40):
        prompts = [describe(sound, rng, exact=True) for sound in asked[start : start + 40]]
        made += task.generate(
            model, prompts, seconds=_SECONDS, seed=SEED + start, guidance=guidance, temperature=temperature
        )
    order = rng.permutation(n_sounds)
    return {
        "formula": judge(asked, by_formula, listener),
        "codec": judge(asked, list(coded), listener),
        "model": judge(asked, made, listener),
        "shuffled": judge(asked, [made[i] for i in order], listener),
    }


def _load(folder: Path) -> torch.nn.Module:
    from transformers import MusicgenForConditionalGeneration

    return MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def _full(sound: Sound, rng: np.random.Generator) -> Sound:
    """With every word said: what is left open can't be heard wrong."""
    return Sound(
        sound.kind,
        sound.register,
        sound.note,
        sound.length or str(rng.choice(["short", "long"])),
        sound.colour or str(rng.choice(["dark", "bright"])),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=starter_model_path("sound"))
    parser.add_argument("--sounds", type=int, default=240)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--temperature", type=float, default=1.0)
    settings = parser.parse_args()
    found = measure(
        settings.model,
        n_sounds=settings.sounds,
        guidance=settings.guidance,
        temperature=settings.temperature,
    )
    for way, shares in found.items():
        print(f"{way:9}" + "  ".join(f"{name} {share:.3f}" for name, share in shares.items()))
    print(f"rate {RATE} Hz, {settings.sounds} sounds each")


if __name__ == "__main__":
    main()
