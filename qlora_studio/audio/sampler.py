"""The child that turns a recording into plain samples: `python -m qlora_studio.audio.sampler`.

    out  {"ready": true}                                                   once
    in   {"path": "/…", "sample_rate": 16000, "max_clip_s": 600.0}
    out  {"content": "<base64>"}  or  {"reason": "Truncated: …"}

The content is little-endian 32-bit floats, one channel. Whoever reads them needs no decoder, so that none
meets a stranger's file outside of this process, which may do as little as `audio.sandbox` leaves it.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

from qlora_studio.audio import sandbox


def main() -> None:
    """Serve until standard input ends."""
    sandbox.restrict()
    from qlora_studio.audio.decode import Unusable, inspect
    from qlora_studio.audio.resample import load_mono

    _answer({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        path = Path(request["path"])
        try:
            inspect(path, max_clip_s=request["max_clip_s"])
            samples = load_mono(path, sample_rate=request["sample_rate"])
            answer = {"content": base64.b64encode(samples.astype("<f4").tobytes()).decode()}
        except Unusable as refusal:
            answer = {"reason": str(refusal)}
        except MemoryError:
            answer = {"reason": "Too large: decoding it takes more memory than a clip may use."}
        except Exception as error:  # a strange file must cost that file only
            answer = {"reason": f"Damaged: it can't be decoded ({type(error).__name__})."}
        _answer(answer)


def _answer(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
