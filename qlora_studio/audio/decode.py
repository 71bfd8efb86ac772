"""What a recording is, found by decoding all of it.

Runs in a child process (`ingest.decoder`): a file may be made to crash or exhaust a decoder.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from qlora_studio.audio.fingerprint import FingerprintMeter
from qlora_studio.audio.peaks import PeakMeter

FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF"})
MIN_DURATION_S = 0.05
MIN_RATE = 1000
MAX_RATE = 768_000
SILENT_PEAK = 1e-4  # -80 dB of full scale
_BLOCK_SAMPLES = 1 << 20
_CLIPPED_RUN = 3  # samples side by side at full scale; one alone is a peak that was met exactly
_FULL_SCALE = 0.999
_ABSURD = 1e6  # of full scale; 16-bit numbers stored as floats reach 32768
_LARGEST = {"PCM_U8": 127 / 128, "PCM_S8": 127 / 128, "ULAW": 32124 / 32768, "ALAW": 32256 / 32768}
_UNKNOWN_LENGTH = 1 << 62  # libsndfile's word for a FLAC that was written to a pipe
_STREAMED_SIZES = frozenset({0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFF000, 0xFFFFF000})


class Unusable(Exception):
    """A recording that can't be used; the text begins with the kind of fault and a colon."""


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """Facts about one recording.

    Attributes:
        peak: of full scale, 0 to 1.
        loudness_db: RMS in dB of full scale, None for silence.
        peaks: the waveform to draw, see `audio.peaks`.
        clipped_ratio: share of samples that stand at full scale in runs, 0 to 1.
        fingerprint: what it sounds like, see `audio.fingerprint`; empty if it is too short or silent to tell.
    """

    duration_s: float
    sample_rate: int
    channels: int
    peak: float
    loudness_db: float | None
    peaks: bytes
    clipped_ratio: float = 0.0
    fingerprint: bytes = b""

    @property
    def is_silent(self) -> bool:
        return self.peak < SILENT_PEAK


def inspect(path: Path, *, max_clip_s: float) -> ClipFacts:
    """Decode a whole file and return what it is.

    Raises:
        Unusable: it is empty, not audio, truncated, too long or short, or holds values that aren't numbers.
    """
    size = path.stat().st_size
    if size == 0:
        raise Unusable("Empty file: it holds no bytes.")
    with path.open("rb") as file:
        _refuse_truncated_wav(file, size)
    try:
        with sf.SoundFile(path) as sound:  # by path: reading through Python costs half as much again
            return _measure(sound, max_clip_s)
    except sf.SoundFileError as error:
        raise Unusable(_not_audio(path, error)) from error


def _measure(sound: Any, max_clip_s: float) -> ClipFacts:
    rate, channels, frames = sound.samplerate, sound.channels, sound.frames
    _check_header(sound, max_clip_s)
    waveform, fingerprint = PeakMeter(frames), FingerprintMeter(rate)
    full_scale = _LARGEST.get(sound.subtype, _FULL_SCALE)
    peak, energy, seen, n_clipped = 0.0, 0.0, 0, 0
    for block in _blocks(sound, max(1, _BLOCK_SAMPLES // channels)):
        highest = max(float(block.max()), -float(block.min()))
        if not highest <= _ABSURD:  # nor is NaN
            raise Unusable(_bad_values(highest))
        energy += float(np.dot(block.ravel(), block.ravel()))
        peak = max(peak, highest)
        seen += len(block)
        mono = block.mean(axis=1) if channels > 1 else block[:, 0]
        waveform.add(mono)
        fingerprint.add(mono)
        if highest >= full_scale:
            n_clipped += _count_clipped(block, full_scale)
    if seen + rate // 10 < frames:  # decoders may lose a last frame; a tenth of a second is a loss
        raise Unusable(
            f"Truncated: the header promises {frames / rate:.1f} s, the file holds {seen / rate:.1f} s."
        )
    if seen < rate * MIN_DURATION_S:
        raise Unusable(f"Too short: {seen / rate * 1000:.0f} ms; at least {MIN_DURATION_S * 1000:.0f} ms.")
    rms = (energy / (seen * channels)) ** 0.5
    return ClipFacts(
        duration_s=seen / rate,
        sample_rate=rate,
        channels=channels,
        peak=min(peak, 1.0),
        loudness_db=round(20 * float(np.log10(rms)), 2) if rms > 0 else None,
        peaks=waveform.to_bytes(),
        clipped_ratio=n_clipped / (seen * channels),
        fingerprint=fingerprint.to_bytes(),
    )


def _count_clipped(block: NDArray[np.float32], full_scale: float) -> int:
    """Samples that stand at full scale, with their neighbours of the same channel doing so too."""
    at_top = np.abs(block) >= full_scale
    n_starts = max(0, len(block) - _CLIPPED_RUN + 1)
    starts = np.logical_and.reduce([at_top[step : step + n_starts] for step in range(_CLIPPED_RUN)])
    in_run = np.zeros_like(at_top)
    for step in range(_CLIPPED_RUN):
        in_run[step : step + n_starts] |= starts
    return int(in_run.sum())


def _check_header(sound: Any, max_clip_s: float) -> None:
    rate, frames = sound.samplerate, sound.frames
    if sound.format not in FORMATS:
        raise Unusable(f"Format: {sound.format} isn't one that is read here. Use WAV, FLAC, Ogg or MP3.")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise Unusable(f"Sample rate: {rate} Hz is outside {MIN_RATE} Hz to {MAX_RATE // 1000} kHz.")
    if frames >= _UNKNOWN_LENGTH:
        raise Unusable("Format: its header doesn't say how long it is. Save it again as WAV or FLAC.")
    if frames == 0:
        raise Unusable("Empty recording: the header is right, but there are no samples.")
    if frames / rate > max_clip_s:
        hours, most = frames / rate / 3600, max_clip_s / 3600
        raise Unusable(f"Too long: {hours:.1f} h; the longest allowed is {most:g} h.")


def _blocks(sound: Any, n_frames: int) -> Any:
    while True:
        block: NDArray[np.float32] = sound.read(n_frames, dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        yield block


def _refuse_truncated_wav(file: BinaryIO, size: int) -> None:
    """Compare a WAV's chunk sizes with the file, since libsndfile shortens a cut one without a word."""
    if size < 12:
        return
    riff, _, wave = struct.unpack("<4sI4s", file.read(12))
    if riff != b"RIFF" or wave != b"WAVE":
        return
    rate_bytes = 0
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        start = file.tell()
        if name == b"data":
            held = size - start
            if length not in _STREAMED_SIZES and length > held + 1:
                raise Unusable(_cut(length, held, rate_bytes))
            return
        if name == b"fmt " and length >= 16:
            rate_bytes = struct.unpack("<I", file.read(16)[8:12])[0]
        file.seek(start + length + (length & 1))


def _bad_values(highest: float) -> str:
    if np.isfinite(highest):
        return f"Bad values: the samples reach {highest:.0e} times full scale."
    return "Bad values: the samples hold values that aren't numbers (NaN or infinity)."


def _cut(promised: int, held: int, bytes_per_s: int) -> str:
    if bytes_per_s <= 0:
        return f"Truncated: the header promises {promised} bytes of sound, the file holds {held}."
    return (
        f"Truncated: the header promises {promised / bytes_per_s:.1f} s, "
        f"the file holds {held / bytes_per_s:.1f} s."
    )


def _not_audio(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(512)
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<svg", b"<?xml")):
        return "Not audio: it is a web page or drawing under an audio name."
    if text.startswith((b"#extm3u", b"[playlist]")):
        return "Not audio: it is a playlist, not a recording."
    if start[4:8] == b"ftyp":
        return "Not read here: AAC or MP4 sound. Convert it to WAV or FLAC."
    if text.startswith((b"riff", b"flac", b"oggs", b"form", b"id3")):
        return f"Damaged: it begins like audio, but can't be decoded ({_first_line(error)})."
    if _is_text(start):
        return "Not audio: it holds text."
    return "Not audio: no known sound format."


def _is_text(start: bytes) -> bool:
    try:
        return start.decode("utf-8", errors="strict").isprintable() or (b"\n" in start and b"\0" not in start)
    except UnicodeDecodeError:
        return False


def _first_line(error: Exception) -> str:
    return str(error).rsplit(": ", 1)[-1].split("\n")[0].rstrip(". ")[:100]
