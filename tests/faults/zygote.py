"""Forks servers and supervisors that have imported everything already: a test can kill a hundred of them.

    python -m tests.faults.zygote

Takes one JSON object a line, `{"what": "supervisor" or "studio", "env": {...}, "log": path}`, and answers
each with the new process's pid. Ends when its standard input does; the processes it made do not.
"""

import asyncio
import json
import os
import signal
import sys


def main() -> None:
    """Import what the children need, say so, and fork on request."""

    import qlora_studio.services.taking_up  # noqa: F401
    from qlora_studio.api import build_api

    api = build_api()

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be(order, api)
        print(pid, flush=True)


def _be(order: dict[str, object], api: object) -> None:
    """Become what is asked for; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an ignored one is inherited, and nobody could wait
    os.setsid()
    os.environ.clear()
    os.environ.update(order["env"])  # type: ignore[call-overload]
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for stream, descriptor in ((0, null), (1, log), (2, log)):
        os.dup2(descriptor, stream)
    status = 1
    try:
        status = _supervise() if order["what"] == "supervisor" else asyncio.run(_serve(api))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _supervise() -> int:
    from qlora_studio.jobs import supervisor

    return supervisor.main()


async def _serve(api: object) -> int:
    """The REST API on a port of its own and, beside it, what the app does beside its pages."""
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server.embed import Server

    from qlora_studio.services import taking_up

    await asyncio.to_thread(taking_up.begin)
    server = Server(
        api,
        address="127.0.0.1",
        port=int(os.environ["STUDIO_PORT"]),
        interface=Interfaces.ASGI,
        log_level=LogLevels.error,
    )
    await server.serve()
    return 0


if __name__ == "__main__":
    main()
