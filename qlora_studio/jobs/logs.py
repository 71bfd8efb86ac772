"""Reads a worker's log: its end, what came after a place in it, or what is found; bounded and cleaned.

The shim keeps the newest part as `worker.log` and the one before as `worker.log.1`. A place in a log is a
number of bytes from the beginning of the whole output, so it means the same before and after a rotation.
"""

import codecs
import contextlib
import io
import json
import os
import re
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qlora_studio.core.logging import redact

MAX_BYTES = 512 * 1024
MAX_LINE = 2_000
SEARCH_WITHIN_S = 2.0
LEVELS = ("debug", "info", "warning", "error")
_LOOK_AT_CLOCK_EVERY = 256  # lines
_MAX_RAW = 4 * MAX_LINE  # what is looked at of a line: cleaning one of megabytes takes seconds
_CHUNK_BYTES = 256 * 1024
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])|\x9b[0-?]*[ -/]*[@-~]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
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
    """Lines of the log, and the place to go on from."""

    lines: list[LogLine]
    next_offset: int


@dataclass(frozen=True)
class Found:
    """The newest lines that match, in order; how many match in all; whether all of the log was looked at."""

    lines: list[LogLine]
    n_found: int
    is_complete: bool


def read_tail(attempt_path: Path, n_lines: int, *, is_growing: bool = False) -> LogPart:
    """Read the last `n_lines` lines, of half a mebibyte at most.

    Args:
        is_growing: leave out a line that is not ended yet; it comes with what is written after it.
    """
    with _opened(attempt_path) as output:
        data, end = output.read(output.end - MAX_BYTES, output.end), output.end
    if is_growing:
        whole = data.rfind(b"\n") + 1
        data, end = data[:whole], end - (len(data) - whole)
    return LogPart(_lines(data)[-n_lines:], end)


def read_after(attempt_path: Path, offset: int, *, is_growing: bool = True) -> LogPart:
    """Read what came after `offset`, half a mebibyte at most.

    Where that part is gone already, or the log is another one, the oldest line that is kept comes first.

    Args:
        is_growing: whole lines only; else the last one may have no end.
    """
    with _opened(attempt_path) as output:
        start = offset if output.start <= offset <= output.end else output.start
        data = output.read(start, start + MAX_BYTES)
        is_all = start + len(data) >= output.end
    end = data.rfind(b"\n") + 1
    if (is_all and not is_growing) or (not end and len(data) == MAX_BYTES):
        end = len(data)
    return LogPart(_lines(data[:end]), start + end)


def read_end(attempt_path: Path) -> int:
    """The place after the newest byte."""
    with _opened(attempt_path) as output:
        return output.end


def search(
    attempt_path: Path,
    *,
    text: str = "",
    levels: Collection[str] = LEVELS,
    limit: int = 400,
    within_s: float = SEARCH_WITHIN_S,
) -> Found:
    """Look through all that is kept, newest first, for lines that hold `text`, whatever its case.

    Args:
        text: what is looked for; everything matches an empty text.
        levels: only lines of these levels.
        limit: how many lines are returned at most; all are counted.
        within_s: seconds after which it stops where it is.
    """
    with _opened(attempt_path) as output:
        data = output.read(output.start, output.end)
    deadline = time.monotonic() + within_s
    wanted, lines, n_found = text.casefold(), [], 0
    for i, raw in enumerate(reversed(data.split(b"\n"))):
        if i % _LOOK_AT_CLOCK_EVERY == 0 and time.monotonic() > deadline:
            return Found(lines[::-1], n_found, False)
        line = _match(raw, wanted, levels)
        if line is not None:
            n_found += 1
            if len(lines) < limit:
                lines.append(line)
    return Found(lines[::-1], n_found, True)


def _match(raw: bytes, wanted: str, levels: Collection[str]) -> LogLine | None:
    shown = raw.decode("utf-8", errors="replace")
    if wanted and "\x1b" not in shown and wanted not in shown.casefold():
        return None  # the usual case, and cheap
    text = _last_state(shown)
    if not text.strip() or wanted not in text.casefold():
        return None
    level = level_of(text)
    return LogLine(text, level) if level in levels else None


def level_of(text: str) -> str:
    """Guess a line's level from its words."""
    if _ERROR.search(text):
        return "error"
    if _WARNING.search(text):
        return "warning"
    return "debug" if _DEBUG.search(text) else "info"


def clean(text: str) -> str:
    """One line as it may be shown: no terminal escapes, no secrets, not longer than `MAX_LINE`."""
    shown = redact(_ESCAPE.sub("", text[:_MAX_RAW]))
    return shown if len(text) <= _MAX_RAW and len(shown) <= MAX_LINE else shown[:MAX_LINE] + " …"


def read_lines(attempt_path: Path) -> Iterator[str]:
    """Yield each line that is kept at the first of them, cleaned; rotations meanwhile change nothing.

    Each state of a progress bar is a line.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    rest = ""
    with _opened(attempt_path) as output:
        for start in range(output.start, output.end, _CHUNK_BYTES):
            data = output.read(start, min(start + _CHUNK_BYTES, output.end))
            *lines, rest = (rest + decoder.decode(data)).split("\n")
            yield from map(clean, lines)
    rest = (rest + decoder.decode(b"", final=True)).removesuffix("\n")
    if rest:
        yield clean(rest)


def _lines(data: bytes) -> list[LogLine]:
    lines: list[LogLine] = []
    for raw in data.decode("utf-8", errors="replace").split("\n"):
        text = _last_state(raw)
        if text.strip():
            lines.append(LogLine(text, level_of(text)))
    return lines


def _last_state(raw: str) -> str:
    """A progress bar redraws its line: keep the last state of it."""
    return clean(raw.rstrip("\r").rpartition("\r")[2])


# -- the files ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """One file of a log, held open: a rotation meanwhile changes its name and nothing else."""

    file: BinaryIO
    inode: int
    size: int


class _Output:
    """The part of a worker's whole output that is kept: bytes `start` to `end`."""

    def __init__(self, files: list[_File], start: int) -> None:
        self._files = files
        self.start = start
        self.end = start + sum(file.size for file in files)

    def read(self, start: int, end: int) -> bytes:
        """Read what is kept of this part."""
        parts, at = [], self.start
        for part in self._files:
            low, high = max(start, at) - at, min(end, at + part.size) - at
            if low < high:
                with contextlib.suppress(OSError):
                    part.file.seek(low)
                    parts.append(part.file.read(high - low))
            at += part.size
        return b"".join(parts)


@contextmanager
def _opened(attempt_path: Path) -> Iterator[_Output]:
    """Open what there is of a log; once more where it was met in the midst of a rotation.

    Where nothing tells its place in the whole output (it was put back from a backup), it begins at 0.
    """
    for _ in range(20):
        with ExitStack() as stack:
            new = _open(stack, attempt_path / "worker.log")
            old = _open(stack, attempt_path / "worker.log.1")
            is_same = new is not None and old is not None and new.inode == old.inode
            start = None if is_same else _start_of(attempt_path, old, new)
            if start is not None:
                yield _Output([file for file in (old, new) if file is not None], start)
                return
        time.sleep(0.002)
    with ExitStack() as stack:
        found = [_open(stack, attempt_path / name) for name in ("worker.log.1", "worker.log")]
        yield _Output([file for file in found if file is not None], 0)


def _open(stack: ExitStack, path: Path) -> _File | None:
    try:
        file = stack.enter_context(path.open("rb"))
    except OSError:
        return None
    found = os.fstat(file.fileno())
    return _File(file, found.st_ino, found.st_size)


def _start_of(attempt_path: Path, old: _File | None, new: _File | None) -> int | None:
    """Where the older file (or the only one) begins in the whole output; None if that can't be told now."""
    try:
        record = json.loads((attempt_path / "worker.log.start").read_bytes())
        inode, start = int(record["inode"]), int(record["start"])
    except FileNotFoundError:
        return 0  # not rotated before
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if new is not None and new.inode == inode:
        return start - (old.size if old is not None else 0)
    return start if old is not None and old.inode == inode else None
