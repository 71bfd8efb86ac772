"""Look up what the pinned packages are known to be vulnerable to: Python's and the built pages'.

    python -m scripts.audit

asks pip-audit about `constraints.txt` and npm about `reflex.lock/package-lock.json`. Ends with 0 when every
package was looked up and none is known to be vulnerable, 1 when one is, and 2 when an advisory service could
not be asked: nothing found out is not the same as nothing found.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
Run = Callable[[Sequence[str], Path], str]
"""Runs a command in a folder and returns what it printed, whatever it ended with."""


@dataclass
class Findings:
    """What an advisory service said of some packages."""

    n_asked: int = 0
    vulnerable: list[str] = field(default_factory=list)  # one line each
    unknown: list[str] = field(default_factory=list)  # nobody could be asked about these

    @property
    def code(self) -> int:
        return 1 if self.vulnerable else 2 if self.unknown or not self.n_asked else 0


def main() -> int:
    """Print what was found of both sides; 0 when all is well."""
    codes = []
    for name, ask in (("Python", python_packages), ("npm", npm_packages)):
        found = ask()
        print(f"{name}: {found.n_asked} packages looked up, {len(found.vulnerable)} known to be vulnerable")
        for line in found.vulnerable:
            print(f"  {line}")
        if found.code == 2:
            shown = ", ".join(found.unknown[:3]) or "all of them"
            print(
                f"  Not looked up: {len(found.unknown) or 'all'} ({shown}). Is the advisory service in reach?"
            )
        codes.append(found.code)
    return 1 if 1 in codes else max(codes)


def python_packages(run: Run | None = None) -> Findings:
    """Ask the package index's advisories about every pinned Python package."""
    command = [sys.executable, "-m", "pip_audit", "-r", "constraints.txt", "--no-deps", "--disable-pip"]
    told = _parse((run or _run)([*command, "-f", "json", "--progress-spinner", "off"], ROOT))
    found = Findings()
    for package in told.get("dependencies", []):
        if "skip_reason" in package:
            found.unknown.append(package["name"])
            continue
        found.n_asked += 1
        for flaw in package["vulns"]:
            mended = ", ".join(flaw["fix_versions"]) or "no version yet"
            found.vulnerable.append(
                f"{package['name']} {package['version']}: {flaw['id']}, mended in {mended}"
            )
    return found


def npm_packages(run: Run | None = None) -> Findings:
    """Ask npm's registry about every package of the built pages."""
    folder = ROOT / "reflex.lock"
    told = _parse((run or _run)(["npm", "audit", "--package-lock-only", "--json"], folder))
    locked = len(json.loads((folder / "package-lock.json").read_text())["packages"]) - 1
    if "vulnerabilities" not in told:
        return Findings(unknown=["the registry's advisories"])
    flaws = told["vulnerabilities"].values()
    return Findings(locked, [f"{flaw['name']}: {flaw['severity']}, {flaw['range']}" for flaw in flaws])


def _run(command: Sequence[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def _parse(text: str) -> dict:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


if __name__ == "__main__":
    sys.exit(main())
