"""The client's calls about takes: made of a text, followed, fetched."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qlora_studio.client_answers import Generation
from qlora_studio.client_base import Connection, sleep_until
from qlora_studio.contracts.enums import GenerationStatus


class TakeCalls(Connection):
    """Generations and their takes."""

    def start_generation(
        self, prompt: str, model_id: str, *, idempotency_key: str = "", **options: Any
    ) -> Generation:
        """Have a model make takes of a text.

        Args:
            options: adapter_id, strength, duration_s, seed, n_takes, guidance, temperature.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = {"prompt": prompt, "model_id": model_id, **options}
        return Generation.model_validate(self._send("POST", "/generations", json=body, headers=headers))

    def get_generation(self, generation_id: str) -> Generation:
        """How far a generation is, and its takes."""
        return Generation.model_validate(self._send("GET", f"/generations/{generation_id}"))

    def list_generations(self, **filters: Any) -> Iterator[Generation]:
        """All generations that match, page by page."""
        return self._pages("/generations", Generation, filters)

    def wait_for_generation(self, generation_id: str, *, timeout_s: float = 3600) -> Generation:
        """Wait until all takes are made, or it has failed.

        Raises:
            TimeoutError: it took longer; it goes on.
        """
        deadline = time.monotonic() + timeout_s
        ended = (GenerationStatus.SUCCEEDED, GenerationStatus.FAILED)
        while (found := self.get_generation(generation_id)).status not in ended:
            sleep_until(deadline)
        return found

    def delete_generation(self, generation_id: str) -> None:
        """Call a generation off, or delete it with its takes."""
        self._send("DELETE", f"/generations/{generation_id}")

    def download_take(self, take_id: str, to: Path) -> Path:
        """Write a take as a WAV file."""
        return self._download(f"/takes/{take_id}/audio", to)
