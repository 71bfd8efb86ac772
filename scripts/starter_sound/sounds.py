"""Sounds by formula: drums, plucked and struck tones, held tones, noise.

A sound begins at its first sample with the same phases each time, and all noise is read from one table: the
codec then meets the same frames again and again, and so does the model. What differs from take to take is
drawn: tuning, decay, level, and where in the table the noise begins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.signal import butter, sosfilt

RATE = 16_000
FRAME = 320  # samples of one code
DRUMS = ("kick drum", "snare drum", "hi-hat")
PITCHED = ("plucked string", "bell", "wooden bar", "organ")
KINDS = (*DRUMS, *PITCHED, "noise")
NOTES = ("c", "c sharp", "d", "d sharp", "e", "f", "f sharp", "g", "g sharp", "a", "a sharp", "b")
REGISTERS = {"low": 48, "middle": 60, "high": 72}  # the MIDI number of each one's C
SHORT, LONG = "short", "long"
DARK, BRIGHT = "dark", "bright"

# Half their level falls to the decay time, in seconds; of no word: what is between.
_DECAYS = {SHORT: (0.05, 0.09), "": (0.14, 0.22), LONG: (0.34, 0.5)}


@dataclass(frozen=True)
class Sound:
    """What is to be heard, in words.

    Attributes:
        kind: One of `KINDS`.
        register: low, middle or high; noise and drums have one too (where most of it lies).
        note: One of `NOTES`, for what has a pitch.
        length: short, long or neither.
        colour: dark, bright or neither.
    """

    kind: str
    register: str = "middle"
    note: str = ""
    length: str = ""
    colour: str = ""

    @property
    def pitch(self) -> float | None:
        """Its fundamental in hertz; none for what has no pitch."""
        if self.kind not in PITCHED:
            return None
        return 440.0 * 2.0 ** ((REGISTERS[self.register] + NOTES.index(self.note or "c") - 69) / 12)


def draw(rng: np.random.Generator) -> Sound:
    """Draw what is to be heard; of each kind as many."""
    kind = str(rng.choice(KINDS))
    return Sound(
        kind,
        str(rng.choice(list(REGISTERS))),
        str(rng.choice(NOTES)) if kind in PITCHED else "",
        str(rng.choice([SHORT, "", LONG])),
        str(rng.choice([DARK, "", BRIGHT])),
    )


def make(sound: Sound, rng: np.random.Generator, *, seconds: float = 1.6) -> np.ndarray:
    """A sound's samples (n,), float32 within 1, at `RATE`; what is drawn makes takes differ.

    Args:
        sound: What is to be heard.
        rng: Draws tuning, decay, level and noise.
        seconds: Of the result; it is silent where the sound has ended.
    """
    t = np.arange(round(seconds * RATE)) / RATE
    low, high = _DECAYS[sound.length]
    half_s = rng.uniform(low, high)
    level = rng.uniform(0.45, 0.6)
    noise = _noise(len(t), FRAME * int(rng.integers(0, 8)))
    tuning = 2.0 ** (rng.normal(0.0, 0.05) / 12)
    wave = _VOICES[sound.kind](sound, t, half_s, noise, tuning)
    wave = wave * _fade_out(t, half_s)
    return (level * wave / max(1e-6, float(np.abs(wave).max()))).astype(np.float32)


def _kick(sound: Sound, t: np.ndarray, half_s: float, noise: np.ndarray, tuning: float) -> np.ndarray:
    base = {"low": 42.0, "middle": 58.0, "high": 80.0}[sound.register] * tuning
    phase = 2 * np.pi * (base * t + base * 3.0 * 0.03 * (1 - np.exp(-t / 0.03)))
    click = {DARK: 0.0, "": 0.15, BRIGHT: 0.5}[sound.colour]
    return np.sin(phase) * _falling(t, half_s) + click * _band(noise, 1500, 6000) * _falling(t, 0.006)


def _snare(sound: Sound, t: np.ndarray, half_s: float, noise: np.ndarray, tuning: float) -> np.ndarray:
    base = {"low": 150.0, "middle": 200.0, "high": 270.0}[sound.register] * tuning
    edges = {DARK: (600, 2200), "": (900, 4500), BRIGHT: (2000, 7500)}[sound.colour]
    body = np.sin(2 * np.pi * base * t) * _falling(t, 0.04)
    return 0.7 * body + 0.8 * _band(noise, *edges) * _falling(t, 0.6 * half_s)


def _hat(sound: Sound, t: np.ndarray, half_s: float, noise: np.ndarray, tuning: float) -> np.ndarray:
    edges = {DARK: (3000, 5200), "": (4000, 7000), BRIGHT: (5800, 7900)}[sound.colour]
    base = {"low": 3000.0, "middle": 4000.0, "high": 5300.0}[sound.register]
    ring = sum(np.sign(np.sin(2 * np.pi * base * ratio * t)) for ratio in (1.0, 1.34, 1.47))
    return (_band(noise, *edges) + 0.2 * _band(ring, *edges)) * _falling(t, 0.4 * half_s)


def _pluck(sound: Sound, t: np.ndarray, half_s: float, noise: np.ndarray, tuning: float) -> np.ndarray:
    # A string plucked near its end: partial n has a part of 1/n and falls the faster the higher it is.
    return _partials(
        sound, t, half_s, tuning, parts=lambda n: np.abs(np.sin(n * np.pi * 0.22)) / n, damping=0.12
    )


def _bell(sound: Sound, t: np.ndarray, half_s: float, noise: np.ndarray, tuning: float) -> np.ndarray:
    pitch = (sound.pitch or 0.0) * tuning
    tilt = {DARK: 0.35, "": 0.7, BRIGHT: 1.1}[sound.colour]
    ratios = (1.0, 2.0, 2.76, 4.1, 5.4, 6.8)
    waves = (
        tilt**index * np.sin(2 * np.pi * pitch * ratio * t) * _falling(t, 1.6 * half_s / (1 + 0.25 * index))
        for index, ratio in enumerate(ratios)
        if pitch * ratio < 7500
    )
    return np.sum(list(waves), axis=0)


def _bar(sound: Sound, t: np.ndarray, half_s: float, noise: np.ndarray, tuning: float) -> np.ndarray:
    pitch = (sound.pitch or 0.0) * tuning
    knock = {DARK: 0.1, "": 0.35, BRIGHT: 0.8}[sound.colour]
    wave = np.sin(2 * np.pi * pitch * t) * _falling(t, 0.5 * half_s)
    wave = wave + knock * np.sin(2 * np.pi * min(7600.0, 3.93 * pitch) * t) * _falling(t, 0.15 * half_s)
    return wave + 0.6 * knock * _band(noise, 800, 4000) * _falling(t, 0.006)


def _organ(sound: Sound, t: np.ndarray, half_s: float, noise: np.ndarray, tuning: float) -> np.ndarray:
    held = np.minimum(1.0, t / 0.04) * (t < 2.2 * half_s) + (t >= 2.2 * half_s) * _falling(
        t - 2.2 * half_s, 0.03
    )
    return _partials(sound, t, 100.0, tuning, parts=lambda n: (n < 9) / n**0.8, damping=0.0) * held


def _hiss(sound: Sound, t: np.ndarray, half_s: float, noise: np.ndarray, tuning: float) -> np.ndarray:
    middle = {"low": 500.0, "middle": 1500.0, "high": 4000.0}[sound.register]
    factor = {DARK: 0.6, "": 1.0, BRIGHT: 1.6}[sound.colour]
    edges = (middle * factor / 1.5, min(7800.0, middle * factor * 1.5))
    swell = np.minimum(1.0, t / 0.08)
    return _band(noise, *edges) * swell * _falling(np.maximum(0.0, t - half_s), half_s)


_VOICES = {
    "kick drum": _kick,
    "snare drum": _snare,
    "hi-hat": _hat,
    "plucked string": _pluck,
    "bell": _bell,
    "wooden bar": _bar,
    "organ": _organ,
    "noise": _hiss,
}


def _partials(
    sound: Sound,
    t: np.ndarray,
    half_s: float,
    tuning: float,
    *,
    parts: Callable[[int], float],
    damping: float,
) -> np.ndarray:
    pitch = (sound.pitch or 0.0) * tuning
    tilt = {DARK: 1.3, "": 0.5, BRIGHT: 0.0}[sound.colour]
    wave = np.zeros_like(t)
    for n in range(1, 1 + min(20, int(7000 / pitch))):
        falling = _falling(t, half_s / (1 + damping * (n - 1)))
        wave += parts(n) * n**-tilt * np.sin(2 * np.pi * pitch * n * t) * falling
    return wave


def _falling(t: np.ndarray, half_s: float) -> np.ndarray:
    return 0.5 ** (t / half_s)


def _fade_out(t: np.ndarray, half_s: float) -> np.ndarray:
    """Silence after eight half lives: a code for it, instead of codes for what nobody hears."""
    end = min(8.0 * half_s, float(t[-1]))
    return np.clip((end - t) / 0.04, 0.0, 1.0)


def _band(wave: np.ndarray, low: float, high: float) -> np.ndarray:
    passed = butter(2, (low, min(high, 7900.0)), "bandpass", fs=RATE, output="sos")
    return np.asarray(sosfilt(passed, wave))


@cache
def _table() -> np.ndarray:
    return np.random.default_rng(7).normal(0.0, 0.5, 64 * FRAME)


def _noise(n: int, start: int) -> np.ndarray:
    return np.resize(np.roll(_table(), -start), n)
