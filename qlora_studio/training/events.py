"""The writing end of `events.jsonl`.

One line an event, one `write()` a line, so that a reader never meets two halves mixed. A line is handed to
the kernel at once (it survives the death of this process) and synced to disk within a second by a thread
(it survives the death of the machine). A full disk never stops a training step: lines wait in memory, up to
a cap, until there is room again.
"""

import json
import math
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SYNC_EVERY_S = 0.5
_WAITING_CAP = 10_000
_encode_string = json.encoder.encode_basestring_ascii


def finite(value: float | None) -> float | None:
    """Return `value` as a float, or None where it is not a number or infinite: JSON has neither."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


class EventWriter:
    """Appends protocol events to a file. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._seq = _count_lines(path)
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque(maxlen=_WAITING_CAP)
        self._needs_sync = False
        self._closing = threading.Event()
        self._syncer = threading.Thread(target=self._sync_forever, name="events-sync", daemon=True)
        self._syncer.start()

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def emit(self, type_: str, **fields: Any) -> None:
        """Append one event. Fields are those of the event's model in `contracts.events`."""
        self._append(type_, json.dumps(_without_nan(fields), ensure_ascii=False, separators=(",", ":"))[1:])

    def metric(self, step: int, values: Mapping[str, float | None]) -> None:
        """Append a `metric` event: the hot path, so the line is put together by hand."""
        parts = []
        for key, value in values.items():
            # x - x is 0 for every finite x and NaN otherwise.
            text = "null" if value is None or value - value != 0 else repr(float(value))
            parts.append(f"{_encode_string(key)}:{text}")
        self._append("metric", f'"step":{step},"values":{{{",".join(parts)}}}}}')

    def _append(self, type_: str, rest: str) -> None:
        with self._lock:
            self._seq += 1
            comma = "" if rest == "}" else ","
            line = f'{{"v":1,"seq":{self._seq},"ts":{time.time():.6f},"type":"{type_}"{comma}{rest}\n'
            self._write(line.encode())

    def _write(self, line: bytes) -> None:
        if not self._waiting:
            try:
                written = os.write(self._file, line)
            except OSError:
                written = 0
            self._needs_sync = True
            if written == len(line):
                return
            line = line[written:]
        self._waiting.append(line)
        self._flush_waiting()

    def _flush_waiting(self) -> None:
        while self._waiting:
            line = self._waiting[0]
            try:
                written = os.write(self._file, line)
            except OSError:
                return
            if written < len(line):
                self._waiting[0] = line[written:]
                return
            self._waiting.popleft()

    def _sync_forever(self) -> None:
        while not self._closing.wait(SYNC_EVERY_S):
            self.sync()

    def sync(self) -> None:
        """Push waiting lines out and make everything written so far durable."""
        with self._lock:
            self._flush_waiting()
            needed, self._needs_sync = self._needs_sync, False
        if needed:
            try:
                os.fsync(self._file)
            except OSError:
                self._needs_sync = True

    def close(self) -> None:
        """Sync and close. Closing twice is fine."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._syncer.join()
        self.sync()
        os.close(self._file)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
