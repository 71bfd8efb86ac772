"""Bring the files of a dataset from elsewhere into its staging; from there they go the way of an upload."""

from qlora_studio.core.settings import Settings
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import cloud, credentials, fetching, hub, quota
from qlora_studio.ingest.places import Place, fetch_all
from qlora_studio.ingest.progress import FetchProgress
from qlora_studio.ingest.refusal import SourceRefused

KINDS = ("url", "cloud", "hub")


def fetch(dataset: Dataset, settings: Settings) -> None:
    """Fetch what isn't here yet. Staging holds only whole files when it returns.

    Raises:
        SourceRefused: it can't be had; the text says why.
        StorageFull: the disk hasn't got the room.
        DatasetGone: the dataset was deleted.
        Cancelled: somebody stopped it.
    """
    source = dataset.source
    with engine.read() as session:
        room = quota.room_bytes(session, dataset.owner_id, settings, besides=dataset.id)
    if room == 0:
        raise SourceRefused("Your space is used up. Delete datasets that you no longer need.")
    progress = FetchProgress(dataset.id)
    if source["kind"] == "url":
        max_bytes = min(room, settings.max_file_bytes)
        fetching.fetch(dataset.id, source["url"], settings=settings, max_bytes=max_bytes, progress=progress)
        return
    with credentials.without_the_servers_own():
        place: Place = (
            cloud.open_place(dataset, settings) if source["kind"] == "cloud" else hub.open_place(dataset)
        )
        fetch_all(dataset.id, place, settings=settings, max_bytes=room, progress=progress)
