"""How many bytes have come, told to the dataset's row now and then."""

import threading
import time

from qlora_studio.contracts.enums import DatasetStatus
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset
from qlora_studio.ingest.refusal import Cancelled, DatasetGone

TELL_EVERY_S = 0.5


class FetchProgress:
    """Counts bytes from any number of threads. `total` is None while it isn't known.

    The row's `source["fetched"]` holds `{"bytes": …, "total": …}`.
    """

    def __init__(self, dataset_id: str) -> None:
        self._dataset_id = dataset_id
        self._lock = threading.Lock()
        self._told_at = 0.0
        self.done = 0
        self.total: int | None = None

    def add(self, count: int) -> None:
        """Count bytes, and tell the row if it is time to.

        Raises:
            DatasetGone: the dataset was deleted.
            Cancelled: somebody stopped it.
        """
        with self._lock:
            self.done += count
            if time.monotonic() - self._told_at < TELL_EVERY_S:
                return
            self._told_at = time.monotonic()
        self.tell()

    def tell(self) -> None:
        """Write how far it is.

        Raises:
            DatasetGone: the dataset was deleted.
            Cancelled: somebody stopped it.
        """
        with engine.write() as session:
            dataset = session.get(Dataset, self._dataset_id)
            if dataset is None:
                raise DatasetGone
            if dataset.status is not DatasetStatus.PROCESSING:
                raise Cancelled
            done = self.done if self.total is None else min(self.done, self.total)  # tries count twice
            dataset.source = {**dataset.source, "fetched": {"bytes": done, "total": self.total}}
            session.add(dataset)
