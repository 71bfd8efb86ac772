"""The client's calls about listening tests: set up, followed, taken, read."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qlora_studio.client_answers import ListeningQuestion, ListeningResults, ListeningTest
from qlora_studio.client_base import Connection, sleep_until
from qlora_studio.contracts.enums import ListeningStatus, Preference


class ListeningCalls(Connection):
    """Listening tests."""

    def create_listening_test(
        self, name: str, contestants: Sequence[dict[str, Any]], prompts: Sequence[str], **options: Any
    ) -> ListeningTest:
        """Set a test up; it opens once its takes are made.

        Args:
            contestants: each a `model_id`, with an `adapter_id` and its `strength` if it is an adapter.
            options: n_seeds, seed, duration_s, guidance, temperature, audience, catch_every, max_votes,
                max_per_rater.
        """
        body = {"name": name, "contestants": list(contestants), "prompts": list(prompts), **options}
        return ListeningTest.model_validate(self._send("POST", "/listening-tests", json=body))

    def get_listening_test(self, test_id: str) -> ListeningTest:
        """How far a test is."""
        return ListeningTest.model_validate(self._send("GET", f"/listening-tests/{test_id}"))

    def list_listening_tests(self) -> Iterator[ListeningTest]:
        """All tests that you own or may take, page by page."""
        return self._pages("/listening-tests", ListeningTest, {})

    def wait_for_listening_test(self, test_id: str, *, timeout_s: float = 3600) -> ListeningTest:
        """Wait until a test's takes are made, or that has failed.

        Raises:
            TimeoutError: it took longer; it goes on.
        """
        deadline = time.monotonic() + timeout_s
        while (found := self.get_listening_test(test_id)).status is ListeningStatus.MAKING:
            sleep_until(deadline)
        return found

    def retry_listening_test(self, test_id: str) -> ListeningTest:
        """Have the takes made that are missing."""
        return ListeningTest.model_validate(self._send("POST", f"/listening-tests/{test_id}/retry"))

    def close_listening_test(self, test_id: str) -> ListeningTest:
        """Take no further answers."""
        return ListeningTest.model_validate(self._send("POST", f"/listening-tests/{test_id}/close"))

    def delete_listening_test(self, test_id: str) -> None:
        """Call a test off, or delete it with its takes and answers."""
        self._send("DELETE", f"/listening-tests/{test_id}")

    def ask_listening_test(self, test_id: str) -> list[ListeningQuestion]:
        """The question you are at and the one after it; nothing once all is answered."""
        asked = self._send("POST", f"/listening-tests/{test_id}/questions")
        return [ListeningQuestion.model_validate(item) for item in asked["questions"]]

    def answer_question(self, question_id: str, verdict: Preference | str) -> None:
        """Say which side is better: left, right, tie or skip."""
        path = f"/listening-tests/questions/{question_id}/answer"
        self._send("POST", path, json={"verdict": str(verdict)})

    def download_side(self, question_id: str, side: str, to: Path) -> Path:
        """Write the left or right sound of a question as a WAV file."""
        return self._download(f"/listening-tests/questions/{question_id}/{side}", to)

    def get_listening_results(self, test_id: str) -> ListeningResults:
        """The ranking, comparisons, agreement and raters."""
        return ListeningResults.model_validate(self._send("GET", f"/listening-tests/{test_id}/results"))

    def decide_about_rater(self, test_id: str, rater_id: str, is_left_out: bool | None) -> ListeningResults:
        """Leave a rater's votes out, or keep them, whatever the rule says; None goes back to the rule."""
        path = f"/listening-tests/{test_id}/raters/{rater_id}"
        body = {"is_left_out": is_left_out}
        return ListeningResults.model_validate(self._send("PUT", path, json=body))

    def export_listening_test(self, test_id: str, to: Path, *, format: str = "json") -> Path:
        """Write all answers into a file, as `json` or `csv`."""
        return self._download(f"/listening-tests/{test_id}/export", to, params={"format": format})
