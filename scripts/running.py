"""A studio server and a Chromium for scripts and tests: started, waited for, and stopped again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from scripts.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "blue-harbour-42-rain"
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@dataclass
class Server:
    """A server of its own data folder: `process` is the parent that keeps it."""

    process: subprocess.Popen[bytes]
    port: int
    data_path: Path

    @property
    def base(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def serving(self) -> psutil.Process:
        """The process that serves."""
        parent = psutil.Process(self.process.pid)
        return next(iter(parent.children()), parent)

    def kill(self) -> None:
        """As `kill -9` of all of it does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """As Ctrl-C does; harder after ten seconds."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


def start_server(data_path: Path, *, port: int | None = None, timeout_s: float = 300, **env: str) -> Server:
    """Start a server and wait until it answers. The first start builds the pages, hence the long timeout.

    Raises:
        RuntimeError: it ended or did not answer in time; the end of its log is in the message.
    """
    port = port or free_port()
    data_path.mkdir(parents=True, exist_ok=True)
    log_path = data_path / "server.log"
    settings = {"QLORA_STUDIO_DATA": str(data_path), "QLORA_STUDIO_PORT": str(port)}
    settings |= {"QLORA_STUDIO_SIGN_UPS_PER_HALF_HOUR": "1000", **env}  # all people come from one address
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "qlora_studio.serve"],
            cwd=ROOT,
            env=os.environ | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, port, data_path)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{server.base}/ping", timeout=2).status_code == 200:
                return server
        except httpx.HTTPError:
            time.sleep(0.1)
    server.stop()
    raise RuntimeError(f"The server did not start:\n{log_path.read_text(errors='replace')[-3000:]}")


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """Open the Chromium that `scripts.setup_browser` found, with more arguments if there are any."""
    kept = ROOT / ".cache/chromium"
    path = kept.read_text().strip() if kept.exists() else os.environ.get("CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path or None, args=[*_ARGUMENTS, *more])
        try:
            yield browser
        finally:
            browser.close()


def sign_up(server: Server, username: str = "ada") -> str:
    """Make an account through the REST API and return a session's token."""
    account = {"username": username, "email": f"{username}@example.org", "password": PASSWORD}
    with httpx.Client(base_url=f"{server.base}/api/v1", timeout=30) as client:
        client.post("/auth/signup", json=account).raise_for_status()
        answer = client.post("/auth/login", json={"login": username, "password": PASSWORD})
        answer.raise_for_status()
        return str(answer.json()["token"])


def sign_in(context: BrowserContext, server: Server, token: str) -> None:
    """Give a browser the session's cookie."""
    cookie = {"name": f"studio_session_{server.port}", "value": token, "url": server.base}
    context.add_cookies([cookie])  # type: ignore[list-item]


def axe_violations(page: Page) -> list[str]:
    """Run axe-core on the page as it is and return one line for each violation."""
    script = ROOT / ".cache/axe/node_modules/axe-core/axe.min.js"
    if not page.evaluate("() => !!window.axe"):
        page.evaluate(script.read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    # An open menu hangs beside the page's landmarks, as Radix puts it there.
    context = "{exclude: ['[data-radix-popper-content-wrapper]']}"
    found = page.evaluate(f"tags => axe.run({context}, {{runOnly: tags}})", tags)
    return [
        f"{v['id']} ({v['impact']}): {v['help']}: "
        + "; ".join(f"{' '.join(map(str, n['target']))} {n['html'][:160]}" for n in v["nodes"][:3])
        for v in found["violations"]
    ]


def watch_console(page: Page) -> list[str]:
    """Collect what the page complains about from now on."""
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(f"{m.type}: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
    return complaints
