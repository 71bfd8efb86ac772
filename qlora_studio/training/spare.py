"""A worker that is there before its job: what takes seconds to import is imported, and then it waits.

    python -P -m qlora_studio.training.spare qlora_studio.training

Standard input is a socket, on which the shim sends one message: `command` and `cwd` as in `launch.json`, and
the attempt's lock beside it, which this process then holds until its end. From there on it is the worker that
the command names. It ends when the socket closes.
"""

import contextlib
import importlib
import json
import os
import runpy
import socket
import sys

from qlora_studio.training.attempt import let_me_die_first

_HEAVY = "qlora_studio.training"
_LIBRARIES = ("accelerate", "bitsandbytes", "peft", "transformers.models.whisper.modeling_whisper")
_MAX_BYTES = 65536


def main() -> int:
    """Import, wait, and become the worker; returns the exit status of one that nobody wanted."""
    module = sys.argv[1]
    let_me_die_first()
    if module == _HEAVY:
        with contextlib.suppress(Exception):  # the attempt meets it again, and says it
            _import_what_takes_long()
    message, locks = _receive()
    if not message:
        return 0
    wanted = json.loads(message)
    os.chdir(wanted["cwd"])
    _, _, name, *arguments = wanted["command"]
    if name != module or len(locks) != 1:
        print(f"a spare worker of {module} was asked for {name}", file=sys.stderr)
        return 2
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    return 0


def _receive() -> tuple[bytes, list[int]]:
    """The message and the lock; standard input is empty afterwards."""
    with socket.socket(fileno=0) as ours:
        message, locks, _, _ = socket.recv_fds(ours, _MAX_BYTES, 1)
        null = os.open(os.devnull, os.O_RDONLY)
        ours.detach()
    os.dup2(null, 0)
    os.close(null)
    return message, locks


def _import_what_takes_long() -> None:
    """What a job of most families imports; CUDA is not touched, for the job chooses its card."""
    for name in (*_LIBRARIES, "qlora_studio.training.loop"):
        importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(main())
