"""Reads a worker's `events.jsonl` as it grows: by byte offset, whole lines only."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from qlora_studio.contracts.events import EVENT_TYPES, Event
from qlora_studio.contracts.spec import PROTOCOL_VERSION

CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 20
_KNOWN_VERSIONS = range(PROTOCOL_VERSION + 1)
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class EventReader:
    """The part of one attempt's events that was not yet read.

    `offset` is the byte after the last whole line that was taken; `last_seq` the highest number seen. Lines
    that are not events, of an unknown type, or seen before are passed over. So are those of a newer protocol,
    whose fields may mean something else; `is_newer` says that there were some.
    """

    def __init__(self, path: Path, *, offset: int = 0, last_seq: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.last_seq = last_seq
        self.is_newer = False

    def has_more(self) -> bool:
        """Whether the file has grown (one `stat`)."""
        try:
            return os.stat(self.path).st_size > self.offset
        except OSError:
            return False

    def read(self) -> list[Event]:
        """Take the whole lines that are there now, about a mebibyte at most."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(CHUNK_BYTES)
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        if not end:
            if len(data) >= MAX_LINE_BYTES:  # a line longer than any event: pass over this part of it
                self.offset += len(data)
            return []
        self.offset += end
        return list(self._parse(data[:end]))

    def _parse(self, data: bytes) -> Iterator[Event]:
        for line in data.split(b"\n"):
            record = _read_record(line)
            if record is None:
                continue
            if record.get("v", 1) not in _KNOWN_VERSIONS:
                self.is_newer = True
                continue
            event = _to_event(record)
            if event is not None and event.seq > self.last_seq:
                self.last_seq = event.seq
                yield event


def parse_line(line: bytes) -> Event | None:
    """Turn one line into its event, or None when it isn't one we know."""
    record = _read_record(line)
    return None if record is None else _to_event(record)


def _read_record(line: bytes) -> dict[str, Any] | None:
    try:
        record: Any = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _to_event(record: dict[str, Any]) -> Event | None:
    if record.get("type") not in EVENT_TYPES:
        return None
    try:
        return _EVENT.validate_python(record)
    except ValidationError:
        return None
