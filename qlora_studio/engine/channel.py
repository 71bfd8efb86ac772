"""The two pipes to whoever started this process: orders come in, progress and answers go out.

A thread of its own reads, so that a cancel is seen while an order is being worked on, and so that the
process ends at once, in the middle of anything, when standard input does: then its parent has gone.
"""

import json
import os
import queue
import sys
import threading
from typing import Any, BinaryIO

from pydantic import BaseModel


class Cancelled(Exception):
    """Whoever asked doesn't want the answer any more."""


class Order:
    """One request on its way: what was asked, and how to report on it."""

    def __init__(self, channel: "Channel", request: dict[str, Any]) -> None:
        self._channel = channel
        self.request = request
        self.id = int(request.get("id", 0))

    def is_cancelled(self) -> bool:
        """Whether it was called off."""
        return self._channel.is_cancelled(self.id)

    def check(self) -> None:
        """Raise `Cancelled` if it was called off; asked between any two stretches of work."""
        if self.is_cancelled():
            raise Cancelled

    def progress(self, label: str, percent: int = 0) -> None:
        """Say what is being done, after looking whether to go on.

        Raises:
            Cancelled: it was called off.
        """
        self.check()
        self._channel.send({"id": self.id, "progress": {"label": label, "percent": percent}})

    def answer(self, value: BaseModel) -> None:
        self._channel.send({"id": self.id, "answer": value.model_dump(mode="json")})

    def refuse(self, sentence: str) -> None:
        self._channel.send({"id": self.id, "refusal": sentence})

    def report_cancelled(self) -> None:
        self._channel.send({"id": self.id, "is_cancelled": True})


class Channel:
    """Orders, one at a time, from a stream of lines; a line that says `cancel` calls one off."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._cancelled = 0
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    @classmethod
    def over_standard_streams(cls) -> "Channel":
        """Take over standard output: what libraries print goes to standard error, into the log."""
        outgoing = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        return cls(sys.stdin.buffer, outgoing)

    def next_order(self) -> Order:
        """Wait for the next one."""
        return self._orders.get()

    def is_cancelled(self, order_id: int) -> bool:
        return self._cancelled == order_id

    def send(self, content: dict[str, Any]) -> None:
        """Write one line. A reader that has gone ends this process."""
        try:
            self._outgoing.write(json.dumps(content, allow_nan=False).encode() + b"\n")
        except BrokenPipeError:
            os._exit(0)

    def _read(self) -> None:
        for line in self._incoming:
            request = json.loads(line)
            if "cancel" in request:
                self._cancelled = int(request["cancel"])
            else:
                self._orders.put(Order(self, request))
        os._exit(0)
