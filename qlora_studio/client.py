"""A small typed client of the REST API, for scripts.

    with Studio("http://127.0.0.1:3000") as studio:
        studio.log_in("ada", "a long password")
        data, model = studio.add_dataset({"kind": "example"}), studio.add_model({"kind": "starter"})
        studio.wait_for_dataset(data.id)
        job = studio.start_job(TrainSpec(name="first", dataset_id=data.id, model_id=model.id))
        done = studio.wait_for_job(job.id)
        studio.download_adapter(done.adapter_id, Path("adapter.zip"))

Answers are models that keep fields they do not know, so that an older client reads a newer server.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qlora_studio.client_accounts import AccountCalls
from qlora_studio.client_adapters import AdapterCalls
from qlora_studio.client_answers import (
    Credential,
    Dataset,
    Exclusion,
    MappingPreview,
    Model,
    Push,
    Report,
    Version,
)
from qlora_studio.client_base import ApiError, pieces, sleep_until
from qlora_studio.client_dictations import DictationCalls
from qlora_studio.client_jobs import JobCalls
from qlora_studio.client_listening import ListeningCalls
from qlora_studio.client_sounds import SoundCalls
from qlora_studio.client_takes import TakeCalls
from qlora_studio.contracts.enums import DatasetStatus, ModelStatus, Task
from qlora_studio.modelfiles.names import is_wanted

__all__ = ["ApiError", "Studio"]


class Studio(AccountCalls, AdapterCalls, JobCalls, TakeCalls, ListeningCalls, DictationCalls, SoundCalls):
    """A connection to a server; see `Connection` for its arguments."""

    def log_in(self, login: str, password: str) -> str:
        """Start a session with a name or e-mail address and use it from now on; returns its token."""
        token = str(self._send("POST", "/auth/login", json={"login": login, "password": password})["token"])
        self._http.cookies.clear()
        self._http.headers["Authorization"] = f"Bearer {token}"
        return token

    def log_out(self) -> None:
        """End the session at once."""
        self._send("POST", "/auth/logout")
        self._http.headers.pop("Authorization", None)

    def sign_up(self, username: str, email: str, password: str) -> None:
        """Make an account."""
        self._send("POST", "/auth/signup", json={"username": username, "email": email, "password": password})

    # -- datasets

    def add_dataset(
        self,
        source: Mapping[str, Any],
        *,
        name: str = "Dataset",
        task: Task = Task.SPEECH_TO_TEXT,
        mapping: Mapping[str, str] | None = None,
    ) -> Dataset:
        """Make a dataset; one to upload into waits for `upload_file` and `ingest`."""
        body = {"name": name, "task": task.value, "source": dict(source), "mapping": dict(mapping or {})}
        return Dataset.model_validate(self._send("POST", "/datasets", json=body))

    def upload_file(self, dataset_id: str, path: Path, *, filename: str = "") -> None:
        """Send one file, streamed from disk."""
        with path.open("rb") as file:
            self._send("PUT", f"/datasets/{dataset_id}/files/{filename or path.name}", content=pieces(file))

    def ingest(self, dataset_id: str) -> Dataset:
        """Begin taking in what was uploaded."""
        return Dataset.model_validate(self._send("POST", f"/datasets/{dataset_id}/ingest"))

    def preview_mapping(self, dataset_id: str, mapping: Mapping[str, str] | None = None) -> MappingPreview:
        """How the files that are here would be read, before they are."""
        body = {"mapping": dict(mapping)} if mapping is not None else {}
        answer = self._send("POST", f"/datasets/{dataset_id}/mapping-preview", json=body)
        return MappingPreview.model_validate(answer)

    def cancel_dataset(self, dataset_id: str) -> Dataset:
        """Stop fetching or taking in; `ingest` starts it again."""
        return Dataset.model_validate(self._send("POST", f"/datasets/{dataset_id}/cancel"))

    def add_credential(self, kind: str, name: str, **secrets: str) -> Credential:
        """Keep a key: `key` and `secret` for s3, `service_account` for gs, `token` for hub."""
        body = {"kind": kind, "name": name, **secrets}
        return Credential.model_validate(self._send("POST", "/credentials", json=body))

    def list_credentials(self) -> list[Credential]:
        """Your credentials, without what they hold."""
        return list(self._pages("/credentials", Credential, {}))

    def delete_credential(self, credential_id: str) -> None:
        self._send("DELETE", f"/credentials/{credential_id}")

    def get_dataset(self, dataset_id: str) -> Dataset:
        return Dataset.model_validate(self._send("GET", f"/datasets/{dataset_id}"))

    def update_dataset(self, dataset_id: str, **changes: Any) -> Dataset:
        """Change `name` or `description`, and before files are taken in also `task` and `mapping`."""
        return Dataset.model_validate(self._send("PATCH", f"/datasets/{dataset_id}", json=changes))

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a dataset that nothing was made with."""
        self._send("DELETE", f"/datasets/{dataset_id}")

    def list_datasets(self, **filters: Any) -> Iterator[Dataset]:
        """All datasets that match, page by page."""
        return self._pages("/datasets", Dataset, filters)

    def wait_for_dataset(self, dataset_id: str, *, timeout_s: float = 600) -> Dataset:
        """Wait until a dataset is ready or in error.

        Raises:
            TimeoutError: it took longer.
        """
        deadline = time.monotonic() + timeout_s
        while (dataset := self.get_dataset(dataset_id)).status == DatasetStatus.PROCESSING:
            sleep_until(deadline)
        return dataset

    def get_report(self, dataset_id: str) -> Report:
        """The quality report, computed anew if content or limits have changed."""
        return Report.model_validate(self._send("GET", f"/datasets/{dataset_id}/report"))

    def set_limits(self, dataset_id: str, **limits: float | None) -> Report:
        """Set limits of the report, None for the default."""
        return Report.model_validate(self._send("PATCH", f"/datasets/{dataset_id}/checks", json=limits))

    def leave_out(
        self, dataset_id: str, check: str | None = None, *, clip_ids: Sequence[str] = ()
    ) -> Exclusion:
        """Leave out what a check found, or the clips that are named."""
        body = {"check": check} if check is not None else {"clip_ids": list(clip_ids)}
        return Exclusion.model_validate(self._send("POST", f"/datasets/{dataset_id}/exclusions", json=body))

    def take_back(self, dataset_id: str, exclusion_id: str) -> int:
        """Take back exactly the clips that an exclusion left out; returns how many."""
        return self._send("DELETE", f"/datasets/{dataset_id}/exclusions/{exclusion_id}")["n_clips"]

    def preview_split(self, dataset_id: str, ratios: Mapping[str, float], **options: Any) -> dict[str, Any]:
        """What dealing out would give; options: seed, stratify, group_by_speaker."""
        body = {"ratios": dict(ratios), **options}
        return self._send("POST", f"/datasets/{dataset_id}/splits", params={"preview": 1}, json=body)

    def split(self, dataset_id: str, ratios: Mapping[str, float], **options: Any) -> Dataset:
        """Deal the clips out; options: seed, stratify, group_by_speaker."""
        body = {"ratios": dict(ratios), **options}
        return Dataset.model_validate(self._send("POST", f"/datasets/{dataset_id}/splits", json=body))

    def list_versions(self, dataset_id: str) -> Iterator[Version]:
        """All versions, newest first."""
        return self._pages(f"/datasets/{dataset_id}/versions", Version, {})

    def restore_version(self, dataset_id: str, number: int) -> Dataset:
        """Make a new version with the content of a former one."""
        return Dataset.model_validate(self._send("POST", f"/datasets/{dataset_id}/versions/{number}/restore"))

    def export_dataset(
        self, dataset_id: str, to: Path, *, format: str = "audiofolder", version: int | None = None
    ) -> Path:
        """Write a version as an audiofolder (zip), jsonl or csv."""
        params = {"format": format} | ({"version": version} if version is not None else {})
        return self._download(f"/datasets/{dataset_id}/export", to, params=params)

    # -- models

    def add_model(self, source: Mapping[str, Any], *, name: str = "", task: Task | None = None) -> Model:
        """Register a model, for example from `{"kind": "path", "path": "/models/whisper-tiny"}`.

        With a `task` it is for that rather than for what its files say: a speech model can learn to tell
        sounds or speakers apart.
        """
        body = {"name": name, "source": dict(source), "task": task.value if task else None}
        return Model.model_validate(self._send("POST", "/models", json=body))

    def upload_model(self, folder: Path, *, name: str = "", task: Task | None = None) -> Model:
        """Register the model in a folder of this computer: send its files, and have them checked."""
        model = self.add_model({"kind": "upload"}, name=name or folder.name, task=task)
        for path in sorted(path for path in folder.iterdir() if is_wanted(path.name)):
            with path.open("rb") as file:
                self._send("PUT", f"/models/{model.id}/files/{path.name}", content=pieces(file))
        return self.check_model(model.id)

    def check_model(self, model_id: str) -> Model:
        """Check what was uploaded, or check again; a failed download is tried again."""
        return Model.model_validate(self._send("POST", f"/models/{model_id}/check"))

    def update_model(self, model_id: str, **changes: Any) -> Model:
        """Change a model's `name` or `description`."""
        return Model.model_validate(self._send("PATCH", f"/models/{model_id}", json=changes))

    def delete_model(self, model_id: str) -> None:
        """Delete a model that nothing uses."""
        self._send("DELETE", f"/models/{model_id}")

    def get_model(self, model_id: str) -> Model:
        return Model.model_validate(self._send("GET", f"/models/{model_id}"))

    def list_models(self, **filters: Any) -> Iterator[Model]:
        """All models that match, page by page."""
        return self._pages("/models", Model, filters)

    def wait_for_model(self, model_id: str, *, timeout_s: float = 3600) -> Model:
        """Wait until a model is downloaded and checked.

        Raises:
            TimeoutError: it took longer.
        """
        deadline = time.monotonic() + timeout_s
        waiting = (ModelStatus.DOWNLOADING, ModelStatus.CHECKING)
        while (model := self.get_model(model_id)).status in waiting:
            sleep_until(deadline)
        return model

    # -- pushes

    def push_adapter(self, adapter_id: str, repo_id: str, credential_id: str, **options: Any) -> Push:
        """Begin to push an adapter to the Hub; `options` are `is_private` and `weights`."""
        body = {"repo_id": repo_id, "credential_id": credential_id, **options}
        return Push.model_validate(self._send("POST", f"/adapters/{adapter_id}/push", json=body))

    def get_push(self, push_id: str) -> Push:
        """How far a push is."""
        return Push.model_validate(self._send("GET", f"/pushes/{push_id}"))

    def cancel_push(self, push_id: str) -> None:
        """Cancel a push that is under way, or take one that has ended off the list."""
        self._send("DELETE", f"/pushes/{push_id}")
