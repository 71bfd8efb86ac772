"""Ears that know nothing of the model: pitch, colour and decay measured, the kind told by a small listener.

The listener learns from sounds by formula that the model never met (another seed), not through the codec.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import torch

from scripts.starter_sound.sounds import (
    BRIGHT,
    DARK,
    KINDS,
    LONG,
    NOTES,
    RATE,
    REGISTERS,
    SHORT,
    Sound,
    draw,
    make,
)

_N_MELS, _N_TIMES = 40, 24


def pitch_of(sound: np.ndarray) -> float:
    """The fundamental of a sound (n,) in hertz, by the normalised autocorrelation of its loudest part.

    Where several periods fit about as well, the shortest is the fundamental's.
    """
    start = int(np.argmax(np.convolve(sound**2, np.ones(800), "valid")))
    part = sound[start : start + 4096]
    part = part - part.mean()
    size = 1 << (2 * len(part) - 1).bit_length()
    correlation = np.fft.irfft(np.abs(np.fft.rfft(part, size)) ** 2)[: len(part)]
    energy = np.cumsum(part[::-1] ** 2)[::-1]
    head = np.cumsum(part**2)[::-1]
    normal = correlation / np.maximum(1e-9, np.sqrt(energy * head))
    low, high = RATE // 1600, RATE // 90
    best = normal[low:high].max()
    for lag in range(low, high):
        is_peak = normal[lag] >= normal[lag - 1] and normal[lag] >= normal[lag + 1]
        if is_peak and normal[lag] > 0.9 * best:
            a, b, c = normal[lag - 1 : lag + 2]
            shift = 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c else 0.0
            return RATE / (lag + shift)
    return 0.0


def note_of(pitch: float) -> tuple[int, str]:
    """The nearest semitone as a MIDI number, and its name."""
    number = round(69 + 12 * np.log2(max(pitch, 1.0) / 440))
    return number, NOTES[number % 12]


def centroid_of(sound: np.ndarray) -> float:
    """The spectral centroid in hertz."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float((np.fft.rfftfreq(len(sound), 1 / RATE) * power).sum() / max(1e-12, power.sum()))


def decay_of(sound: np.ndarray) -> float:
    """Seconds until nine tenths of the energy have passed."""
    energy = np.cumsum(sound**2)
    return float(np.searchsorted(energy, 0.9 * energy[-1]) / RATE)


def flatness_of(sound: np.ndarray) -> float:
    """Spectral flatness of the loudest quarter second: near 0 for tones, towards 1 for noise."""
    start = int(np.argmax(np.convolve(sound**2, np.ones(4000), "valid")))
    power = np.abs(np.fft.rfft(sound[start : start + 4000] * np.hanning(4000))) ** 2 + 1e-10
    return float(np.exp(np.log(power).mean()) / power.mean())


class Listener:
    """Tells the kind of a sound from its mel spectrogram."""

    def __init__(self, n_sounds: int = 4000, seed: int = 99) -> None:
        rng = np.random.default_rng(seed)
        what = [draw(rng) for _ in range(n_sounds)]
        heard = torch.stack([_spectrogram(make(sound, rng)) for sound in what])
        kinds = torch.tensor([KINDS.index(sound.kind) for sound in what])
        torch.manual_seed(seed)
        width = heard.shape[1]
        self._net = torch.nn.Sequential(
            torch.nn.LayerNorm(width),
            torch.nn.Linear(width, 96),
            torch.nn.GELU(),
            torch.nn.Linear(96, len(KINDS)),
        )
        optimizer = torch.optim.AdamW(self._net.parameters(), lr=2e-3, weight_decay=0.05)
        for _ in range(800):
            chosen = torch.randint(0, len(heard), (128,))
            noisy = heard[chosen] + 0.3 * torch.randn(128, width)
            loss = torch.nn.functional.cross_entropy(self._net(noisy), kinds[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def tell(self, sounds: list[np.ndarray]) -> list[str]:
        """The kind of each sound (n,)."""
        with torch.no_grad():
            found = self._net(torch.stack([_spectrogram(sound) for sound in sounds])).argmax(1)
        return [KINDS[int(index)] for index in found]


def _spectrogram(sound: np.ndarray) -> torch.Tensor:
    import librosa

    sound = np.pad(sound[: RATE * 8 // 5], (0, max(0, RATE * 8 // 5 - len(sound))))
    peak = max(1e-4, float(np.abs(sound).max()))
    mel = librosa.feature.melspectrogram(y=sound / peak, sr=RATE, n_fft=1024, hop_length=256, n_mels=_N_MELS)
    levels = np.log10(mel + 1e-4)
    # Fine at the beginning, where kinds differ.
    edges = np.linspace(0, 1, _N_TIMES + 1) ** 2 * levels.shape[1]
    parts = [levels[:, int(a) : max(int(a) + 1, int(b))].mean(1) for a, b in pairwise(edges)]
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def judge(asked: list[Sound], heard: list[np.ndarray], listener: Listener) -> dict[str, float]:
    """How far sounds follow what was asked for: shares from 0 to 1.

    `dark_bright` and `short_long` are shares of right answers against thresholds that best divide sounds by
    formula of the same kind and register.
    """
    kinds = listener.tell(heard)
    result = {"kind": float(np.mean([kind == sound.kind for kind, sound in zip(kinds, asked, strict=True)]))}
    octaves, notes = [], []
    for sound, wave in zip(asked, heard, strict=True):
        if sound.pitch and sound.kind != "bell":  # a bell has several pitches
            number, name = note_of(pitch_of(wave))
            octaves.append(abs(number - note_of(sound.pitch)[0]) <= 6)
            notes.append(name == sound.note)
    result["octave"], result["note"] = float(np.mean(octaves)), float(np.mean(notes))
    limits = _limits()
    colours = [
        (centroid_of(w) > limits[s.kind, s.register][0]) == (s.colour == "bright")
        for s, w in zip(asked, heard, strict=True)
        if s.colour
    ]
    lengths = [
        (decay_of(w) > limits[s.kind, s.register][1]) == (s.length == "long")
        for s, w in zip(asked, heard, strict=True)
        if s.length
    ]
    result["dark_bright"], result["short_long"] = float(np.mean(colours)), float(np.mean(lengths))
    noise = [flatness_of(w) for s, w in zip(asked, heard, strict=True) if s.kind == "noise"]
    result["noise_flatness"] = float(np.median(noise))
    return result


@cache
def _limits() -> dict[tuple[str, str], tuple[float, float]]:
    """The centroid (Hz) between dark and bright, and the decay (s) between short and long, by formula."""

    def between(measure: Callable[[np.ndarray], float], ends: list[Sound]) -> float:
        rng = np.random.default_rng(5)
        values = [np.median([measure(make(end, rng)) for _ in range(4)]) for end in ends]
        return float(np.sqrt(values[0] * values[1]))

    found = {}
    for kind in KINDS:
        for register in REGISTERS:
            sound = Sound(kind, register, "f sharp")
            colours = [replace(sound, colour=colour) for colour in (DARK, BRIGHT)]
            lengths = [replace(sound, length=length) for length in (SHORT, LONG)]
            found[kind, register] = (between(centroid_of, colours), between(decay_of, lengths))
    return found
