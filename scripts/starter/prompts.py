"""Rebuild the example dataset from Debian's English telephone prompts.

    apt install asterisk-core-sounds-en asterisk-core-sounds-en-wav
    python -m scripts.starter.prompts

Reads the 8 kHz recordings and their printed texts, keeps the clips of speech, writes the texts as they are
spoken ("press 1" becomes "press one"), draws a fixed validation split, and stores 16 kHz mono FLAC under
`qlora_studio/examples/prompts-en/`. The same input gives the same files: nothing is random but the split,
whose seed is below.
"""

import csv
import gzip
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

SOUNDS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
PROMPTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
TARGET = Path(__file__).resolve().parents[2] / "qlora_studio" / "examples" / "prompts-en"

RATE_HZ = 16_000
MIN_DURATION_S, MAX_DURATION_S = 0.3, 29.0
# 10 bits: FLAC drops the empty ones, and what is rounded off lies below the noise of a telephone. A lossy
# format would be smaller still, but leaves the upper half of the spectrum empty, which no model has seen.
LEVELS = 2**9
N_VALIDATION, MIN_VALIDATION_WORDS, MAX_VALIDATION_S, SPLIT_SEED = 96, 3, 6.0, 2026

# Spoken as letters or as a name of the trade that nobody could spell from hearing it, or no speech at all.
LEFT_OUT = re.compile(
    r"^(silence/|spy-(dahdi|h323|iax|iax2|mgcp|misdn|nbs|sip|unistim|zap|usbradio|skinny|jingle)$|"
    r"letters/(ascii\d|d(ash|ollar|ot)|equals|excl|plus|slash)|"
    r"vm-Cust|beep|confbridge-(join|leave)$|confbridge-binaural|tt-monkeys$|ascending|descending|vm-intro$)"
)
MISPRINTS = {
    "exclaimation-point": "exclamation point",
    "fourtieth": "fortieth",
    "represenatives": "representatives",
    "representive": "representative",
    "umute": "unmute",
    "un-indentified": "unidentified",
    "witheld": "withheld",
}
DIGITS = "zero one two three four five six seven eight nine".split()


@dataclass(frozen=True)
class Prompt:
    """One recording with the words that are heard in it."""

    name: str
    text: str
    audio: np.ndarray  # (samples,) float32 in [-1, 1], RATE_HZ


def spoken(printed: str) -> str:
    """The printed prompt as it is heard: lower case, letters, spaces and apostrophes only."""
    text = re.sub(r"\[[^]]*\]|\([^)]*\)|<[^>]*>", " ", printed).lower()
    for wrong, right in MISPRINTS.items():
        text = text.replace(wrong, right)
    text = text.replace("a.m.", "a m").replace("p.m.", "p m").replace("*", " star ").replace("#", " pound ")
    text = re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", text)
    return " ".join(re.sub(r"[^a-z']+", " ", text).split())


def read_prompts() -> Iterator[tuple[str, str]]:
    """Name and printed text of every prompt in the list that Debian ships."""
    with gzip.open(PROMPTS, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, colon, text = line.partition(":")
            if colon and not line.startswith(";"):
                yield name.strip(), text.strip()


def load_prompts() -> list[Prompt]:
    """Every clip of speech that is neither too short nor too long, at 16 kHz, sorted by name."""
    kept = []
    for name, printed in sorted(read_prompts()):
        path, text = SOUNDS / f"{name}.wav", spoken(printed)
        if LEFT_OUT.search(name) or not text or not path.is_file():
            continue
        audio, rate_hz = sf.read(path, dtype="float32")
        if MIN_DURATION_S <= len(audio) / rate_hz <= MAX_DURATION_S:
            wide = soxr.resample(audio, rate_hz, RATE_HZ, "VHQ")
            kept.append(Prompt(name, text, np.round(np.clip(wide, -1, 1 - 1 / LEVELS) * LEVELS) / LEVELS))
    return kept


def choose_validation(prompts: list[Prompt]) -> set[str]:
    """Texts held out for validation, so that no sentence is in both splits.

    Only prompts of several words: a missed single letter would count as much as a whole sentence. And none of
    the few long ones, which have too much to teach.
    """
    by_text: dict[str, int] = {}
    for prompt in prompts:
        is_short = len(prompt.audio) <= MAX_VALIDATION_S * RATE_HZ
        if is_short and len(prompt.text.split()) >= MIN_VALIDATION_WORDS:
            by_text[prompt.text] = by_text.get(prompt.text, 0) + 1
    texts = sorted(by_text)
    random.Random(SPLIT_SEED).shuffle(texts)
    chosen: set[str] = set()
    n_clips = 0
    for text in texts:
        if n_clips + by_text[text] <= N_VALIDATION:
            chosen.add(text)
            n_clips += by_text[text]
    return chosen


def write_dataset(prompts: list[Prompt], target: Path) -> int:
    """Write clips and `metadata.csv`; return the size of the clips in bytes."""
    validation = choose_validation(prompts)
    clips = target / "clips"
    shutil.rmtree(clips, ignore_errors=True)
    clips.mkdir(parents=True)
    n_bytes = 0
    with (target / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["file_name", "text", "split"])
        for prompt in prompts:
            path = clips / f"{prompt.name.replace('/', '-')}.flac"
            sf.write(path, prompt.audio, RATE_HZ, format="FLAC", subtype="PCM_16")
            n_bytes += path.stat().st_size
            split = "validation" if prompt.text in validation else "train"
            rows.writerow([f"clips/{path.name}", prompt.text, split])
    return n_bytes


def main() -> None:
    prompts = load_prompts()
    n_bytes = write_dataset(prompts, TARGET)
    minutes = sum(len(prompt.audio) for prompt in prompts) / RATE_HZ / 60
    print(f"{len(prompts)} clips, {minutes:.1f} minutes, {n_bytes / 1e6:.1f} MB in {TARGET}")


if __name__ == "__main__":
    main()
