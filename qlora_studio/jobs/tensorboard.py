"""TensorBoard's files of a run: one event file an attempt, in `tensorboard/`, written as events are taken in.

A file is TFRecord (length, checksum, bytes, checksum) around TensorBoard's `Event` message, of which only the
few fields used here are encoded. The libraries that write such files were looked at: they start every file
anew, and import cloud clients or torch. Here a file is gone on with after a crash.

Beside each file lies its position: the newest event taken, the file's size, and how far `events.jsonl` was
read. On opening, what was written after that position is cut off and read again from `events.jsonl`, so each
point is there once, whatever was killed. Whatever goes wrong here (a full disk) stays here: it is made up
for from `events.jsonl` at a later look.
"""

import logging
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from qlora_studio.contracts.events import EvalEvent, Event, HeartbeatEvent, MetricEvent
from qlora_studio.jobs.events import EventReader
from qlora_studio.jobs.metrics import SYSTEM_KEYS
from qlora_studio.storage import layout

_CHUNKS_AT_ONCE = 4  # of a mebibyte, when a file is far behind: the supervisor has other jobs to look after
_POSITION = struct.Struct("<qqqq")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Position:
    """How far a file is: newest event, bytes of the file, bytes of `events.jsonl`, whether it has steps."""

    seq: int = 0
    size: int = 0
    offset: int = 0
    has_steps: bool = False


class EventFile:
    """The file of one attempt. One writer at a time: the supervisor."""

    def __init__(self, job_id: str, attempt: int) -> None:
        self._attempt = attempt
        self._job_id = job_id
        self._events_path = layout.attempt_path(job_id, attempt) / "events.jsonl"
        self._path = file_path(job_id, attempt)
        self._position_path = self._path.with_name(f".attempt-{attempt}.position")
        self._position: _Position | None = None
        self._behind: EventReader | None = None
        self._is_failing = False

    def take(self, events: Sequence[Event], *, offset: int) -> None:
        """Write down the points of events that were just read. Never raises: nothing else may wait for it.

        Args:
            events: the newest events, oldest first; those that are in the file already are passed over.
            offset: where they end in `events.jsonl`, in bytes.
        """
        try:
            position = self._position or self._open()
            if self._behind is None:
                self._append(position, events, offset)
            else:
                self._catch_up(self._behind, offset, _CHUNKS_AT_ONCE)
            self._is_failing = False
        except (OSError, ValueError, OverflowError, struct.error) as error:
            self._position = None  # looked at again, and repaired, next time
            if not self._is_failing:
                _log.warning("job %s: TensorBoard's file has to wait: %s", self._job_id, error)
            self._is_failing = True

    def finish(self, *, offset: int) -> None:
        """Take in all that is missing of an attempt that has ended."""
        self.take([], offset=offset)
        while self._behind is not None and not self._is_failing:
            self.take([], offset=offset)

    def _open(self) -> _Position:
        """Find the position and cut off what came after it; from there on `events.jsonl` is read again."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        position = _read_position(self._position_path)
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < position.size:  # the machine lost power: the file is made anew
            position = _Position()
        with self._path.open("ab") as file:
            file.truncate(position.size)
        self._position = position
        self._behind = EventReader(self._events_path, offset=position.offset, last_seq=position.seq)
        return position

    def _catch_up(self, reader: EventReader, offset: int, n_chunks: int) -> None:
        for _ in range(n_chunks):
            if reader.offset >= offset:
                break
            before = reader.offset
            events = reader.read()
            if reader.offset == before:  # nothing whole is there
                break
            assert self._position is not None, "opened before it is caught up"
            self._append(self._position, events, reader.offset)
        else:
            return
        self._behind = None

    def _append(self, position: _Position, events: Sequence[Event], offset: int) -> None:
        new = [event for event in events if event.seq > position.seq]
        if not new:
            return
        records = [] if position.size else self._head(new[0].ts)
        has_steps = position.has_steps or self._attempt == 1
        for event in new:
            if isinstance(event, MetricEvent) and not has_steps:
                # From this step on the attempt before took steps that are taken again: the reader drops them.
                records.append(_record(_event(event.ts, event.step, is_start=True)))
                has_steps = True
            values = values_by_tag(event)
            if values and (has_steps or isinstance(event, EvalEvent)):
                records.append(_record(_event(event.ts, _step(event), values)))
        data = b"".join(records)
        with self._path.open("ab") as file:
            file.write(data)
        moved = _Position(new[-1].seq, position.size + len(data), max(offset, position.offset), has_steps)
        _write_position(self._position_path, moved)
        self._position = moved

    def _head(self, ts: float) -> list[bytes]:
        """What a file begins with. TensorBoard takes only the second start of a run for a restart."""
        version = _record(_event(ts, 0, file_version=True))
        return [version, _record(_event(ts, 0, is_start=True))] if self._attempt == 1 else [version]


def folder_path(job_id: str) -> Path:
    """The folder to give to `tensorboard --logdir`."""
    return layout.run_path(job_id) / "tensorboard"


def file_path(job_id: str, attempt: int) -> Path:
    """The file of an attempt. TensorBoard reads a folder's files in the order of their names."""
    return folder_path(job_id) / f"events.out.tfevents.{attempt:010d}.attempt-{attempt}"


def list_files(job_id: str) -> list[Path]:
    """The run's files, oldest attempt first; none of runs that are older than this format."""
    return sorted(folder_path(job_id).glob("events.out.tfevents.*"))


# -- what is in it -------------------------------------------------------------------------------------


def values_by_tag(event: Event) -> dict[str, float | None]:
    """Points of an event by their tags; the part before the slash is the group they are shown in."""
    match event:
        case MetricEvent():
            return {f"train/{key}": value for key, value in event.values.items()}
        case EvalEvent() if not event.base:
            return {f"eval/{key}": value for key, value in event.values.items()}
        case HeartbeatEvent():
            found = {f"system/{key}": getattr(event, key) for key in sorted(SYSTEM_KEYS)}
            return {tag: value for tag, value in found.items() if value is not None}
        case _:
            return {}


def _step(event: Event) -> int:
    return int(getattr(event, "step", 0))


# -- the format ----------------------------------------------------------------------------------------


def _event(
    ts: float,
    step: int,
    values: Mapping[str, float | None] | None = None,
    *,
    file_version: bool = False,
    is_start: bool = False,
) -> bytes:
    """Encode an `Event`: time (1), step (2) and one of file version (3), summary (5), session log (7)."""
    head = b"\x09" + struct.pack("<d", ts) + b"\x10" + _varint(max(0, step))
    if file_version:
        return head + _field(b"\x1a", b"brain.Event:2")
    if is_start:
        return head + _field(b"\x3a", b"\x08\x01")  # SessionLog.status = START
    return head + _field(b"\x2a", b"".join(_value(tag, value) for tag, value in (values or {}).items()))


def _value(tag: str, value: float | None) -> bytes:
    """Encode a `Summary.Value`: tag (1) and simple_value (2)."""
    number = float("nan")
    if value is not None and not math.isnan(value):
        number = max(-_LARGEST, min(_LARGEST, value))
    return _field(b"\x0a", _field(b"\x0a", tag.encode()) + b"\x15" + struct.pack("<f", number))


_LARGEST = 3.4028234e38  # a 32-bit float can't hold more


def _field(key: bytes, data: bytes) -> bytes:
    return key + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C of TFRecord."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _read_position(path: Path) -> _Position:
    try:
        seq, size, offset, has_steps = _POSITION.unpack(path.read_bytes())
    except (OSError, struct.error):
        return _Position()
    return _Position(seq, size, offset, bool(has_steps))


def _write_position(path: Path, position: _Position) -> None:
    """Written in place by one call of 32 bytes: a killed process leaves the old or the new one."""
    data = _POSITION.pack(position.seq, position.size, position.offset, int(position.has_steps))
    with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        file.write(data)
