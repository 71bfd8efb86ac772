"""Work of accounts that waits for a thread of this process: one piece of an account at a time, few in all."""

import logging
import threading
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

from sqlmodel import col, select

from qlora_studio.core.clock import utc_now
from qlora_studio.db import engine as db

AT_ONCE = 4  # of as many accounts: half of what may wait for the inference process
_log = logging.getLogger(__name__)


class Line:
    """Pieces of work in the order they were added, each known by its row's id.

    Args:
        run: does one piece; what it raises is logged.
        name: of the threads.
    """

    def __init__(self, run: Callable[[str], None], *, name: str) -> None:
        self._run, self._name = run, name
        self._waiting: list[tuple[str, str]] = []
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def add(self, work_id: str, owner_id: str) -> None:
        """Have a piece done when it is its turn; what waits already waits once."""
        with self._lock:
            if (work_id, owner_id) not in self._waiting:
                self._waiting.append((work_id, owner_id))
            self._start_what_may()

    def take_up(self, table: Any, *, active: Collection[Any], after_s: float) -> None:
        """Add what was asked for so many seconds ago and is not done: its process may have been killed.

        Args:
            table: whose rows are the pieces of work, with their owner, status and when they were asked for.
            active: the statuses of those that are not done.
        """
        rows = select(table.id, table.owner_id).where(col(table.status).in_(active))
        rows = rows.where(col(table.created_at) <= utc_now() - timedelta(seconds=after_s))
        with db.read() as session:
            unfinished = session.exec(rows.order_by(col(table.created_at))).all()
        for work_id, owner_id in unfinished:
            self.add(work_id, owner_id)

    def _start_what_may(self) -> None:
        for work_id, owner_id in list(self._waiting):
            if len(self._busy) < AT_ONCE and owner_id not in self._busy:
                self._waiting.remove((work_id, owner_id))
                self._busy.add(owner_id)
                threading.Thread(
                    target=self._do,
                    args=(work_id, owner_id),
                    name=f"{self._name} {work_id}",
                    daemon=True,
                ).start()

    def _do(self, work_id: str, owner_id: str) -> None:
        try:
            self._run(work_id)
        except Exception:
            _log.exception("%s %s: given up until the next start", self._name, work_id)
        finally:
            with self._lock:
                self._busy.discard(owner_id)
                self._start_what_may()
