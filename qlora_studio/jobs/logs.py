"""Reads a worker's log: the end of it, or what came after an offset; bounded, redacted, without escapes."""

import re
from dataclasses import dataclass
from pathlib import Path

from qlora_studio.core.logging import redact

MAX_BYTES = 512 * 1024
MAX_LINE = 2_000
LEVELS = ("debug", "info", "warning", "error")
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])|[\x00-\x08\x0b-\x1f\x7f]"
)
_ERROR = re.compile(r"\b\w*(?:Error|Exception)\b|\b(?:ERROR|CRITICAL|FATAL|Traceback)\b|^(?:error|fatal):")
_WARNING = re.compile(r"\b\w*Warning\b|\b(?:WARNING|WARN)\b|^warning:")
_DEBUG = re.compile(r"\bDEBUG\b")


@dataclass(frozen=True)
class LogLine:
    """One line and what it seems to be: debug, info, warning or error."""

    text: str
    level: str


@dataclass(frozen=True)
class LogPart:
    """Lines of the log, and the byte offset to go on from."""

    lines: list[LogLine]
    next_offset: int


def read_tail(attempt_path: Path, n_lines: int) -> LogPart:
    """Read the last `n_lines` lines, of half a mebibyte at most."""
    path = attempt_path / "worker.log"
    size = _size(path)
    data = _read(path, max(0, size - MAX_BYTES), size)
    if size < MAX_BYTES:  # it may just have been rotated
        older = attempt_path / "worker.log.1"
        end = _size(older)
        data = _read(older, max(0, end - (MAX_BYTES - size)), end) + data
    return LogPart(_lines(data)[-n_lines:], size)


def read_after(attempt_path: Path, offset: int) -> LogPart:
    """Read whole lines that came after `offset`; from the start when the log was rotated since."""
    path = attempt_path / "worker.log"
    size = _size(path)
    start = offset if offset <= size else 0
    data = _read(path, start, min(size, start + MAX_BYTES))
    end = data.rfind(b"\n") + 1
    if not end and len(data) == MAX_BYTES:
        end = len(data)
    return LogPart(_lines(data[:end]), start + end)


def level_of(text: str) -> str:
    """Guess a line's level from its words."""
    if _ERROR.search(text):
        return "error"
    if _WARNING.search(text):
        return "warning"
    return "debug" if _DEBUG.search(text) else "info"


def clean(text: str) -> str:
    """One line as it may be shown: no terminal escapes, no secrets, not longer than `MAX_LINE`."""
    text = redact(_ESCAPE.sub("", text))
    return text if len(text) <= MAX_LINE else text[:MAX_LINE] + " …"


def _lines(data: bytes) -> list[LogLine]:
    lines: list[LogLine] = []
    for raw in data.decode("utf-8", errors="replace").split("\n"):
        text = clean(raw.rstrip("\r").rpartition("\r")[2])  # a progress bar redraws its line: keep the last
        if text.strip():
            lines.append(LogLine(text, level_of(text)))
    return lines


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path, start: int, end: int) -> bytes:
    if end <= start:
        return b""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(min(end - start, MAX_BYTES))
    except OSError:
        return b""


def list_files(attempt_path: Path) -> list[Path]:
    """The log's files, oldest first."""
    return [p for p in (attempt_path / "worker.log.1", attempt_path / "worker.log") if p.exists()]
