"""Datasets from the Hugging Face Hub: recordings, tables and parquet, each against its checksum."""

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from qlora_studio.core import hub
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import credentials, staging
from qlora_studio.ingest.places import RemoteFile, shown_name
from qlora_studio.ingest.progress import FetchProgress
from qlora_studio.ingest.refusal import Cancelled, DatasetGone, SourceRefused
from qlora_studio.storage import layout

_OWN = (Cancelled, DatasetGone, SourceRefused)


def open_place(dataset: Dataset) -> "Repository":
    """The dataset on the Hub that a dataset names.

    Raises:
        SourceRefused: the credential isn't usable.
        SecretLost: the credential can't be opened.
    """
    source, token = dataset.source, ""
    if source.get("credential_id"):
        token = credentials.unlock(source["credential_id"], owner_id=dataset.owner_id, kind="hub")["token"]
    return Repository(dataset.id, source["repo_id"], source.get("revision") or "main", token)


class Repository:
    """One revision of a dataset on the Hub. Without a token it is asked for as anybody would."""

    def __init__(self, dataset_id: str, repo_id: str, revision: str, token: str) -> None:
        self._repo_id, self._revision = repo_id, revision
        self._token: str | bool = token or False  # False: not the server's own either
        self._endpoint = os.environ.get("HF_ENDPOINT")
        self._folder = layout.staging_path(dataset_id) / "hub"
        self._commit = revision

    def list_files(self) -> Iterator[RemoteFile]:
        """Every file of the revision, with SHA-256 (large ones) or git's SHA-1 as checksum."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint, token=self._token)
        info = self._asked(
            partial(api.dataset_info, self._repo_id, revision=self._revision, files_metadata=True)
        )
        self._commit = info.sha or self._revision
        for item in info.siblings or []:
            checksum = (item.lfs.sha256 if item.lfs else item.blob_id) or ""
            yield RemoteFile(item.rfilename, shown_name(item.rfilename, ""), item.size or 0, checksum)

    def bring(self, dataset_id: str, file: RemoteFile, progress: FetchProgress) -> None:
        """Fetch one file and move it into staging once its checksum is right."""
        from huggingface_hub import hf_hub_download

        get = partial(
            hf_hub_download,
            repo_id=self._repo_id,
            filename=file.key,
            repo_type="dataset",
            revision=self._commit,
            local_dir=self._folder,
            endpoint=self._endpoint,
            token=self._token,
            tqdm_class=_meter(progress),
        )
        path = Path(self._asked(get))
        if path.stat().st_size != file.size or not _matches(path, file.checksum):
            path.unlink()
            raise SourceRefused(f"{file.name} arrived damaged: its checksum is wrong. Start it again.")
        staging.adopt(dataset_id, file.name, path)

    def _asked(self, call: Any) -> Any:
        try:
            return hub.patiently(call)
        except _OWN:
            raise
        except Exception as error:
            raise SourceRefused(hub.explain(error, self._repo_id, "dataset")) from error


def _matches(path: Path, checksum: str) -> bool:
    """Whether a file has the checksum that the Hub lists: SHA-256, or SHA-1 as git computes it."""
    if not checksum:
        return True
    with path.open("rb") as file:
        if len(checksum) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == checksum
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() == checksum


def _meter(progress: FetchProgress) -> Any:
    """A progress bar for the Hub's client that shows nothing and counts for us."""
    from huggingface_hub.utils import tqdm

    class Meter(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            progress.add(int(n or 0))

    return Meter
