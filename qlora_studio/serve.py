"""`make run` and `qlora-studio serve`: build the pages if they changed, migrate, and serve on one port.

The server is one process, kept by a parent (`keeper`). `kill -9` of the parent leaves nothing behind, and a
second start skips the build.
"""

import asyncio
import fcntl
import gc
import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from qlora_studio import keeper
from qlora_studio.core.settings import Settings, get_settings
from qlora_studio.storage import holding

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_STOP_WITHIN_S = 4.0
_MOST_FILES = 65_536
_WAIT_S = 1.0  # for a server that was killed and is not quite gone
ROOT = Path(__file__).resolve().parents[1]
_SOURCES = (
    "rxconfig.py", "assets", "reflex.lock", "qlora_studio/qlora_studio.py", "qlora_studio/components",
    "qlora_studio/pages", "qlora_studio/state", "qlora_studio/frontend", "qlora_studio/contracts",
)  # fmt: skip


def web_path() -> Path:
    """Where Reflex compiles to."""
    return (ROOT / os.environ.get("REFLEX_WEB_WORKDIR", ".web")).resolve()


def source_hash() -> str:
    """Return a hash of everything that the compiled pages are made from."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        path = ROOT / name
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if "__pycache__" not in file.parts and "external" not in file.parts:
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def build(*, force: bool = False) -> bool:
    """Compile the pages if their sources changed since the last build. Returns whether it did.

    Raises:
        SystemExit: the build failed; its output has been shown.
    """
    lock_path = web_path().with_suffix(".lock")  # beside it: Reflex sets up a folder that isn't there
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two starts at once build once
        return _build_if_stale(force=force)


def _build_if_stale(*, force: bool) -> bool:
    wanted = source_hash()
    stamp = web_path() / "qlora_studio.build"
    is_there = (web_path() / "build/client/index.html").exists()
    if not force and is_there and stamp.exists() and stamp.read_text() == wanted:
        return False
    print("Building the pages (about a minute the first time) …", flush=True)
    stamp.unlink(missing_ok=True)
    command = [sys.executable, "-m", "reflex", "export", "--frontend-only", "--no-zip"]
    if subprocess.run(command, cwd=ROOT, env=_build_environment(), check=False).returncode != 0:
        raise SystemExit("The pages could not be built; see above.")
    stamp.write_text(wanted)
    return True


def _build_environment() -> dict[str, str]:
    """Node comes from the venv; Reflex is told to use npm and to look for no newer version."""
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "REFLEX_ENV_MODE": "prod",
        "REFLEX_USE_NPM": "1",
        "REFLEX_CHECK_LATEST_VERSION": "0",
    }
    env.setdefault("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org")
    return env


def serve(settings: Settings | None = None) -> int:
    """Serve pages, API and websocket until interrupted; returns the exit status.

    Raises:
        SystemExit: another server holds the data folder; its process and port are named.
    """
    settings = settings or get_settings()
    try:
        holding.hold(settings.data_path, port=settings.port, wait_s=_WAIT_S)
    except holding.HeldByAnother as error:
        raise SystemExit(str(error)) from None
    os.chdir(ROOT)
    app = _load()

    def be_the_server() -> None:
        from qlora_studio.core.errors import StudioError
        from qlora_studio.db.migrations import upgrade

        try:
            upgrade()
        except StudioError as error:
            raise SystemExit(error.message) from None
        asyncio.run(_serve(app, settings))

    if keeper.can_keep():
        return keeper.keep(be_the_server)
    be_the_server()
    return 0


def _load() -> "ASGIApp":
    """Import and build the app, with the garbage collector at rest: it would look at all that stays."""
    os.environ["REFLEX_ENV_MODE"] = "prod"
    gc.disable()
    from reflex.environment import environment

    environment.REFLEX_SKIP_COMPILE.set(True)
    environment.REFLEX_MOUNT_FRONTEND_COMPILED_APP.set(True)
    from qlora_studio.api.problems import problem
    from qlora_studio.qlora_studio import app

    built = app()
    gc.freeze()
    gc.enable()

    async def without_line_breaks(scope: "Scope", receive: "Receive", send: "Send") -> None:
        """The framework's router knows no path with a line break, and says so before our gate is asked."""
        if scope["type"] == "http" and "\n" in scope["path"]:
            await problem(404, "Not found", "There is nothing at this path.")(scope, receive, send)
        else:
            await built(scope, receive, send)

    return without_line_breaks


async def _serve(app: "ASGIApp", settings: Settings) -> None:
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server.embed import Server

    server = Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        log_level=LogLevels.error,
        backlog=1024,
        backpressure=_most_connections(),
    )

    def stop() -> None:
        # Open pages would hold the server back, and what they log as they are cut off helps nobody. The
        # process may end anywhere: jobs are their own processes and the database rolls back.
        logging.disable(logging.CRITICAL)
        deadline = threading.Timer(_STOP_WITHIN_S, os._exit, [0])
        deadline.daemon = True
        deadline.start()
        server.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    host = "localhost" if settings.host in {"127.0.0.1", "0.0.0.0", "::"} else settings.host
    print(f"QLoRA Studio is at http://{host}:{settings.port}  (Ctrl-C stops it; jobs go on)", flush=True)
    await server.serve()


def _most_connections() -> int:
    """Let the process open all the files it may; half of them can be connections.

    A thousand idle ones, which is the server's own bound, would shut everybody else out.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted) // 2 if soft != resource.RLIM_INFINITY else wanted // 2


def main() -> None:
    """Build if needed, then serve."""
    build()
    sys.exit(serve())


if __name__ == "__main__":
    main()
