"""The child that makes pictures and sounds of recordings: `python -m qlora_studio.audio.renderer`.

    out  {"ready": true}                              once; librosa is loaded then
    in   {"make": "spectrogram", "path": "/…"}
    in   {"make": "varied", "path": "/…", "augmentation": {…}, "seed": 0, "epoch": 0, "clip_id": "clip_…"}
    out  {"content": "<base64>"}  or  {"reason": "…"}

It may do as little as the one that decodes (`audio.sandbox`), and ends with its standard input.
"""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import soundfile as sf

from qlora_studio.audio import augment, sandbox, spectrogram
from qlora_studio.audio.resample import load_mono
from qlora_studio.contracts.spec import AugmentationSpec

VARIED_RATE = 16_000  # what the models here listen at
VARIED_MAX_S = 40.0


def main() -> None:
    """Serve until standard input ends."""
    spectrogram.warm_up()
    sandbox.restrict()
    _answer({"ready": True})
    for line in sys.stdin:
        try:
            _answer({"content": base64.b64encode(_make(json.loads(line))).decode()})
        except MemoryError:
            _answer({"reason": "This recording is too large for that."})
        except Exception:  # a strange file must cost its own picture only
            _answer({"reason": "This recording can't be read any more."})


def _make(request: dict[str, Any]) -> bytes:
    path = Path(request["path"])
    if request["make"] == "spectrogram":
        return spectrogram.draw(path)
    spec = AugmentationSpec.model_validate(request["augmentation"])
    rng = augment.rng_for(request["seed"], request["epoch"], request["clip_id"])
    samples = load_mono(path, sample_rate=VARIED_RATE, max_s=VARIED_MAX_S)
    buffer = io.BytesIO()
    sf.write(buffer, augment.apply(samples, VARIED_RATE, spec, rng), VARIED_RATE, format="WAV")
    return buffer.getvalue()


def _answer(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
