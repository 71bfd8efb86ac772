"""How a dataset's files would be read, shown before they are."""

from sqlmodel import Session

from qlora_studio.contracts.enums import DatasetStatus
from qlora_studio.core.errors import Conflict
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest import preview, staging
from qlora_studio.ingest.preview import Preview
from qlora_studio.ingest.refusal import SourceRefused
from qlora_studio.services import dataset_sources, datasets


def find_files(session: Session, *, actor: User, dataset_id: str) -> Dataset:
    """Return the dataset if its files are here and aren't taken in yet.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: there is nothing to look at, or it is too late to.
    """
    dataset = datasets.get_dataset(session, actor=actor, dataset_id=dataset_id)
    if dataset.status not in (DatasetStatus.AWAITING_FILES, DatasetStatus.ERROR):
        raise Conflict("Its files are being taken in, or are in. Make a new dataset to read them otherwise.")
    if dataset.source.get("kind") != "folder" and not staging.list_received(dataset_id):
        raise Conflict("No file is here yet.")
    return dataset


def look(dataset: Dataset, *, mapping: dict[str, str] | None = None) -> Preview:
    """Look at the files of a dataset that `find_files` gave. Call it outside a session: it may take seconds.

    Raises:
        InvalidInput: the mapping names something that isn't a field.
        Conflict: the folder isn't there any more.
    """
    dataset_sources.check_mapping(mapping or {})
    try:
        return preview.look(dataset, get_settings(), mapping=mapping)
    except SourceRefused as refusal:
        raise Conflict(str(refusal)) from refusal
