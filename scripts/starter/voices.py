"""Synthetic voices: Debian's espeak-ng (rule based, very many voices) and flite (built from recorded people).

apt install espeak-ng flite
"""

import random
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

RATE_HZ = 16_000
ESPEAK_LANGUAGES = ["en-us"] * 6 + ["en-gb", "en-gb-x-rp", "en-us-nyc", "en-gb-scotland"]
ESPEAK_VARIANTS = (
    "f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7 m8 Alicia Andrea Annie anika aunty belinda linda steph steph2 "
    "shelby grandma Alex Andy Denis Diogo Gene Hugo Lee Marco Mike adam antonio benjamin boris caleb david "
    "ed edward iven john klatt klatt2 klatt4 max michel norbert pablo paul quincy rob robert sandro travis "
    "victor zac"
).split()
# Women's voices more often: most recorded prompts are spoken by women.
FLITE_VOICES = ["slt"] * 5 + ["rms"] * 2 + ["awb"] * 2 + ["kal16"]


@dataclass(frozen=True)
class Voice:
    """One way of speaking.

    Attributes:
        engine: `espeak-ng` or `flite`.
        name: The engine's own name of the voice.
        pace: 1 is the voice's usual speed, 2 twice as fast.
        pitch: 0 to 99 for espeak-ng; a mean in hertz for flite.
        size: How much smaller the vocal tract is made afterwards (resampling; 1 leaves it).
    """

    engine: str
    name: str
    pace: float
    pitch: int
    size: float


def draw_voice(rng: random.Random, *, natural: float = 0.6) -> Voice:
    """A random voice; `natural` is the share of flite."""
    if rng.random() < natural:
        name = rng.choice(FLITE_VOICES)
        size = rng.uniform(0.92, 1.12) if name == "slt" else rng.uniform(0.92, 1.25)
        pitch = rng.randint(140, 230) if name == "slt" else rng.randint(90, 180)
        return Voice("flite", name, rng.uniform(0.75, 1.25), pitch, size)
    name = f"{rng.choice(ESPEAK_LANGUAGES)}+{rng.choice(ESPEAK_VARIANTS)}"
    return Voice("espeak-ng", name, rng.uniform(0.65, 1.15), rng.randint(25, 80), rng.uniform(0.92, 1.12))


def _command(voice: Voice, text: str, path: str) -> list[str]:
    if voice.engine == "flite":
        pace, pitch = f"duration_stretch={1 / voice.pace:.3f}", f"int_f0_target_mean={voice.pitch}"
        return ["flite", "-voice", voice.name, "--setf", pace, "--setf", pitch, "-o", path, "-t", text]
    # Alone, espeak-ng reads a capital A as the article.
    text = re.sub(r"\bA\b", "[[eI]]", text)
    words_per_minute = str(round(175 * voice.pace))
    return ["espeak-ng", "-v", voice.name, "-s", words_per_minute, "-p", str(voice.pitch), "-w", path, text]


def speak(voice: Voice, text: str) -> np.ndarray:
    """Say `text`.

    Returns:
        (samples,) float32 at 16 kHz, silence trimmed at both ends, peak 0.9.

    Raises:
        RuntimeError: The engine said nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "speech.wav")
        subprocess.run(_command(voice, text, path), check=True, capture_output=True, timeout=60)
        audio, rate_hz = sf.read(path, dtype="float32")
    # Played faster, pitch and formants go up together, as in a smaller speaker.
    audio = soxr.resample(audio, rate_hz * voice.size, RATE_HZ, "MQ")
    loud = np.flatnonzero(np.abs(audio) > 0.01 * np.abs(audio).max(initial=0.0))
    if not len(loud) or not np.abs(audio).max():
        raise RuntimeError(f"{voice.engine} with voice {voice.name} said nothing for {text!r}.")
    audio = audio[loud[0] : loud[-1] + 1]
    return audio / np.abs(audio).max() * 0.9
