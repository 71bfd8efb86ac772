"""The child that decodes: reads one JSON line per file, answers one JSON line per file.

    out  {"ready": true}                        once, when it can begin
    in   {"path": "/…", "max_clip_s": 14400.0}
    out  {"facts": {…, "peaks": "<base64>", "fingerprint": "<base64>"}}  or  {"reason": "Truncated: …"}

It has little memory, may write no file, and dies with its parent. `ingest.decoding` restarts it when a file
has made it crash or hang, so that such a file costs nobody but itself.
"""

import base64
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qlora_studio.audio import sandbox

BYTES_FIELDS = ("peaks", "fingerprint")


def main() -> None:
    """Serve until standard input ends."""
    sandbox.restrict()
    from qlora_studio.audio.decode import Unusable, inspect

    _answer({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            facts = asdict(inspect(Path(request["path"]), max_clip_s=request["max_clip_s"]))
            facts |= {name: base64.b64encode(facts[name]).decode() for name in BYTES_FIELDS}
            answer = {"facts": facts}
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
