"""Start the process that takes a dataset in, and see to it that its death is noticed."""

import logging
import os
import subprocess
import sys
import threading

from qlora_studio.contracts.enums import DatasetStatus
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import notices, updating
from qlora_studio.ingest.credentials import scrubbed
from qlora_studio.storage import layout

_log = logging.getLogger(__name__)
_processes: dict[str, subprocess.Popen[bytes]] = {}


def launch(dataset_id: str) -> None:
    """Start taking in a dataset that is `processing`. It goes on if this server ends.

    A second process for the same dataset waits for the first, so launching twice does no harm.
    """
    settings = get_settings()
    log_path = layout.data_path() / "logs" / "ingest.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        **scrubbed(os.environ),
        "QLORA_STUDIO_DATA": str(settings.data_path),
        "QLORA_STUDIO_DATABASE_URL": settings.database_url,
        "QLORA_STUDIO_DATASET_ROOTS": settings.dataset_roots,
    }
    try:
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "qlora_studio.ingest", dataset_id],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
    except OSError as error:
        _log.exception("dataset %s", dataset_id)
        _fail(
            dataset_id,
            f"The process that reads the files can't be started ({error.strerror}). Start it again.",
        )
        return
    _processes[dataset_id] = process
    name = f"intake of {dataset_id}"
    threading.Thread(target=_watch, args=(dataset_id, process), name=name, daemon=True).start()


def wait(dataset_id: str, timeout_s: float) -> bool:
    """Wait for the process started last for a dataset; whether it has ended (or there is none)."""
    process = _processes.get(dataset_id)
    if process is None:
        return True
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _watch(dataset_id: str, process: subprocess.Popen[bytes]) -> None:
    """A process that ended without saying how it went leaves an error instead of an endless wait.

    One after which another was started says nothing any more: that one goes on.
    """
    code = process.wait()
    if code == 0 or _processes.get(dataset_id) is not process:
        return
    how = f"it was ended by signal {-code}" if code < 0 else f"exit code {code}"
    _log.error("taking in dataset %s: %s", dataset_id, how)
    _fail(dataset_id, f"Taking the files in ended early ({how}). Nothing is lost: start it again.")


def _fail(dataset_id: str, message: str) -> None:
    with engine.write() as session:
        dataset = session.get(Dataset, dataset_id)
        if dataset is None or dataset.status is not DatasetStatus.PROCESSING:
            return
        if updating.is_under_way(dataset):
            updating.end(dataset, message=message)
        else:
            dataset.status, dataset.error = DatasetStatus.ERROR, message
            notices.tell(session, dataset)
