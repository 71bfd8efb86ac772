"""Recordings made for tests, good and bad."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import soundfile as sf

RATE = 16_000


def tone(
    seconds: float = 0.5, *, rate: int = RATE, channels: int = 1, pitch: float = 220.0, level: float = 0.5
):
    """A sine, float32, shape (n, channels)."""
    at = np.arange(round(seconds * rate), dtype=np.float32) / rate
    wave = (level * np.sin(2 * np.pi * pitch * at)).astype(np.float32)
    return np.repeat(wave[:, None], channels, axis=1)


def wav(seconds: float = 0.5, **options) -> bytes:
    return encoded(tone(seconds, **options), rate=options.get("rate", RATE))


def encoded(samples, *, rate: int = RATE, format: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def lying_header(content: bytes, promised: int | None = None) -> bytes:
    """A WAV whose header promises so many bytes of sound, or a thousand times what follows."""
    at = content.index(b"data") + 4
    (size,) = struct.unpack("<I", content[at : at + 4])
    return content[:at] + struct.pack("<I", promised or size * 1000) + content[at + 4 :]


def flac_promising(content: bytes, n_frames: int) -> bytes:
    """A FLAC whose header promises another number of frames; 0 stands for unknown."""
    at = 8 + 13  # the last 36 bits before the checksum of the first block
    high = bytes([(content[at] & 0xF0) | (n_frames >> 32)])
    return content[:at] + high + (n_frames & 0xFFFFFFFF).to_bytes(4, "big") + content[at + 5 :]


def quiet_flac(hours: float, *, rate: int = 1000) -> bytes:
    """Hours of nothing in a few kilobytes."""
    buffer = io.BytesIO()
    with sf.SoundFile(buffer, "w", rate, 1, format="FLAC", subtype="PCM_16") as sound:
        for _ in range(round(hours)):
            sound.write(np.zeros(3600 * rate, dtype=np.int16))
    return buffer.getvalue()


def bad_files() -> dict[str, tuple[bytes, str]]:
    """File name -> (bytes, how its reason begins)."""
    good = wav(1.0)
    with_nan = tone(0.5)
    with_nan[100] = np.nan
    flac = encoded(tone(2.0), format="FLAC")
    mp3 = encoded(tone(3.0), format="MP3")
    return {
        "empty.wav": (b"", "Empty file"),
        "no-samples.wav": (encoded(np.zeros((0, 1), dtype=np.float32)), "Empty recording"),
        "truncated.wav": (good[: len(good) // 3], "Truncated"),
        "truncated.flac": (flac[: len(flac) // 2], "Damaged"),
        "lying.wav": (lying_header(good), "Truncated"),
        "promising.flac": (flac_promising(flac, 3 * 3600 * RATE), "Damaged"),
        "six-hours-promised.flac": (flac_promising(flac, 6 * 3600 * RATE), "Too long"),
        "six-hours-long.flac": (quiet_flac(6), "Too long"),
        "piped.flac": (flac_promising(flac, 0), "Format: its header doesn't say how long"),
        "six-hours.wav": (lying_header(good, 6 * 3600 * RATE * 2), "Truncated"),
        "no-chunks.wav": (b"RIFF\x24\0\0\0WAVE", "Damaged"),
        "no-channels.wav": (good[:22] + b"\0\0" + good[24:], "Damaged"),
        "many-channels.wav": (good[:22] + b"\xff\xff" + good[24:], "Damaged"),
        "truncated.ogg": (encoded(tone(0.2), format="OGG")[:2000], "Damaged"),
        "truncated.mp3": (mp3[: len(mp3) // 2], "Truncated"),
        "text.wav": (b"this is a text, not a sound\n" * 20, "Not audio: it holds text"),
        "page.wav": (b"<!DOCTYPE html><script>alert(1)</script>", "Not audio: it is a web page"),
        "drawing.mp3": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "Not audio: it is a web page"),
        "list.mp3": (b"#EXTM3U\nhttp://127.0.0.1/x\n", "Not audio: it is a playlist"),
        "nan.wav": (encoded(with_nan, subtype="FLOAT"), "Bad values"),
        "short.wav": (wav(0.01), "Too short"),
        "slow.wav": (wav(20.0, rate=7), "Sample rate"),
        "noise.wav": (bytes(np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8)), "Not audio"),
        "phone.m4a": (b"\0\0\0\x20ftypM4A " + b"\0" * 200, "Not read here"),
        "head-only.flac": (b"fLaC" + b"\0" * 100, "Damaged"),
    }


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
