"""The client's calls about dictations: clips written down by a model, corrected, made a dataset of."""

import time
from collections.abc import Iterator
from typing import Any

from qlora_studio.client_answers import Dataset, Dictation, Transcript
from qlora_studio.client_base import Connection, sleep_until
from qlora_studio.contracts.enums import DictationStatus

_ENDED = (DictationStatus.SUCCEEDED, DictationStatus.STOPPED, DictationStatus.FAILED)


class DictationCalls(Connection):
    """Dictations."""

    def start_dictation(self, dataset_id: str, model_id: str, **options: Any) -> Dictation:
        """Have a speech model write down a dataset's clips.

        Args:
            options: adapter_id, strength, and clips ("without_text" or "all").
        """
        body = {"model_id": model_id, **options}
        return Dictation.model_validate(self._send("POST", f"/datasets/{dataset_id}/dictations", json=body))

    def get_dictation(self, dictation_id: str) -> Dictation:
        """How far a dictation is."""
        return Dictation.model_validate(self._send("GET", f"/dictations/{dictation_id}"))

    def list_dictations(self, dataset_id: str) -> Iterator[Dictation]:
        """All dictations of a dataset, page by page."""
        return self._pages(f"/datasets/{dataset_id}/dictations", Dictation, {})

    def wait_for_dictation(self, dictation_id: str, *, timeout_s: float = 3600) -> Dictation:
        """Wait until all clips are written down, or that was stopped or has failed.

        Raises:
            TimeoutError: it took longer; it goes on.
        """
        deadline = time.monotonic() + timeout_s
        while (found := self.get_dictation(dictation_id)).status not in _ENDED:
            sleep_until(deadline)
        return found

    def list_transcripts(self, dictation_id: str, **filters: Any) -> Iterator[Transcript]:
        """What was heard in each clip, page by page; filters are show ("open" or "checked") and query."""
        return self._pages(f"/dictations/{dictation_id}/clips", Transcript, filters)

    def correct_transcript(self, dictation_id: str, clip_id: str, text: str) -> None:
        """Say what was really said in a clip; an empty text takes that back."""
        address = f"/dictations/{dictation_id}/clips/{clip_id}"
        if text:
            self._send("PUT", address, json={"text": text})
        else:
            self._send("DELETE", address)

    def stop_dictation(self, dictation_id: str) -> Dictation:
        """Write down no more; what was heard stays."""
        return Dictation.model_validate(self._send("POST", f"/dictations/{dictation_id}/stop"))

    def apply_corrections(self, dictation_id: str) -> int:
        """Give the dataset's clips the corrected texts; returns its version."""
        return int(self._send("POST", f"/dictations/{dictation_id}/apply")["version"])

    def create_dataset_of_corrections(self, dictation_id: str, name: str) -> Dataset:
        """Make a dataset of the clips that were looked at."""
        found = self._send("POST", f"/dictations/{dictation_id}/dataset", json={"name": name})
        return Dataset.model_validate(found)

    def delete_dictation(self, dictation_id: str) -> None:
        """Delete a dictation with what was heard and corrected."""
        self._send("DELETE", f"/dictations/{dictation_id}")
