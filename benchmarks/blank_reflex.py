"""A blank Reflex app to compare with: one page, one value that comes over the websocket. Built once, kept.

A plain Reflex build has its server's address compiled in, so its port is chosen once and kept. With FOLDER
and PORT as arguments this file serves it, as `qlora_studio.serve` serves the studio.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

_APP = """import reflex as rx


class Blank(rx.State):
    said: str = ""

    @rx.event
    async def greet(self):
        self.said = "alive"


@rx.page(route="/", on_load=Blank.greet)
def index() -> rx.Component:
    return rx.el.main(rx.el.p(Blank.said, id="said"))


app = rx.App()
"""
_CONFIG = """import reflex as rx

config = rx.Config(
    app_name="blank",
    api_url="http://localhost:{port}",
    telemetry_enabled=False,
    show_built_with_reflex=False,
)
"""


def build(folder: Path, *, port: int) -> int:
    """Write the app and compile its page, if that has not been done. Returns the port that it was made for.

    Args:
        port: for a new build.

    Raises:
        CalledProcessError: Reflex could not build it.
    """
    kept = folder / "port"
    if (folder / ".web/build/client/index.html").exists() and kept.exists():
        return int(kept.read_text())
    write(folder, port=port)
    command = [sys.executable, "-m", "reflex", "export", "--frontend-only", "--no-zip"]
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(folder),
        "REFLEX_ENV_MODE": "prod",
        "REFLEX_USE_NPM": "1",
        "REFLEX_CHECK_LATEST_VERSION": "0",
    }
    env.setdefault("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org")
    subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    kept.write_text(str(port))
    return port


def write(folder: Path, *, port: int, app: str = _APP) -> None:
    """Write the app's files; without a build it has a websocket and no pages."""
    (folder / "blank").mkdir(parents=True, exist_ok=True)
    (folder / "rxconfig.py").write_text(_CONFIG.format(port=port))
    (folder / "blank/__init__.py").touch()
    (folder / "blank/blank.py").write_text(app)


def command(folder: Path, port: int) -> list[str]:
    """What starts it."""
    return [sys.executable, str(Path(__file__).resolve()), str(folder), str(port)]


async def _serve(folder: Path, port: int) -> None:
    os.chdir(folder)
    sys.path[0] = str(folder)
    os.environ["REFLEX_ENV_MODE"] = "prod"
    from reflex.environment import environment

    environment.REFLEX_SKIP_COMPILE.set(True)
    environment.REFLEX_MOUNT_FRONTEND_COMPILED_APP.set((folder / ".web/build/client").exists())
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server.embed import Server

    blank = __import__("blank.blank", fromlist=["app"])
    server = Server(
        blank.app(), address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_level=LogLevels.error
    )
    await server.serve()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
