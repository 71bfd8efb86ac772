"""The client's calls about takes: made of a text, followed, fetched, rated."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qlora_studio.client_answers import BlindPair, Dataset, Generation, PreferenceVote, PromptTemplate, Rating
from qlora_studio.client_base import Connection, sleep_until
from qlora_studio.client_feedback_answers import (
    FeedbackDay,
    FeedbackPreview,
    FeedbackStats,
    FeedbackUpdate,
    Readiness,
    ReadinessRule,
)
from qlora_studio.contracts.enums import GenerationStatus, Preference, Sharing


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
        """All generations that match, page by page.

        Args:
            filters: query, status, model_id, adapter_id, rated, favorite, tag, like, from_tests, sort.
        """
        return self._pages("/generations", Generation, filters)

    def preview_feedback(self, **wanted: Any) -> FeedbackPreview:
        """How many rows `add_dataset({"kind": "feedback", "filter": wanted})` would make now."""
        source = {"kind": "feedback", "filter": wanted}
        answer = self._send("POST", "/datasets/preview", json={"source": source})
        return FeedbackPreview.model_validate(answer)

    def preview_feedback_update(self, dataset_id: str) -> FeedbackUpdate:
        """Which rows would come and go if a dataset from feedback were brought up to date now."""
        return FeedbackUpdate.model_validate(self._send("GET", f"/datasets/{dataset_id}/feedback-update"))

    def update_from_feedback(self, dataset_id: str) -> Dataset:
        """Bring a dataset from feedback up to date; `wait_for_dataset` waits until it is ready again."""
        return Dataset.model_validate(self._send("POST", f"/datasets/{dataset_id}/feedback-update"))

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

    def list_shared_generations(self) -> Iterator[Generation]:
        """All generations that others share, page by page."""
        return self._pages("/generations/shared", Generation, {})

    def share_generation(self, generation_id: str, sharing: Sharing | str) -> Generation:
        """Let others listen (`read`), rate and compare too (`use`), or nothing any more (`private`)."""
        body = {"sharing": str(sharing)}
        return Generation.model_validate(self._send("PATCH", f"/generations/{generation_id}", json=body))

    def delete_generation(self, generation_id: str) -> None:
        """Call a generation off, or delete it with its takes."""
        self._send("DELETE", f"/generations/{generation_id}")

    def download_take(self, take_id: str, to: Path) -> Path:
        """Write a take as a WAV file."""
        return self._download(f"/takes/{take_id}/audio", to)

    def like_take(self, take_id: str, *, is_favorite: bool = True) -> None:
        """Keep a take among your favourites, or no longer."""
        self._send("PUT" if is_favorite else "DELETE", f"/takes/{take_id}/favorite")

    def list_prompt_templates(self) -> list[PromptTemplate]:
        """The texts that you keep, by name."""
        return list(self._pages("/prompt-templates", PromptTemplate, {}))

    def keep_prompt(self, name: str, prompt: str, **settings: Any) -> PromptTemplate:
        """Keep a text under a name.

        Args:
            settings: model_id, adapter_id, strength, duration_s, n_takes, guidance, temperature, seed.
        """
        body = {"name": name, "prompt": prompt, **settings}
        return PromptTemplate.model_validate(self._send("POST", "/prompt-templates", json=body))

    def change_prompt_template(self, template_id: str, **changes: str) -> PromptTemplate:
        """Change a kept text's `name` or `prompt`."""
        answer = self._send("PATCH", f"/prompt-templates/{template_id}", json=changes)
        return PromptTemplate.model_validate(answer)

    def delete_prompt_template(self, template_id: str) -> None:
        """Keep a text no longer."""
        self._send("DELETE", f"/prompt-templates/{template_id}")

    def rate_take(
        self,
        take_id: str,
        stars: int,
        *,
        criterion: str = "overall",
        tags: Sequence[str] = (),
        note: str = "",
    ) -> Rating:
        """Rate a take, 1 to 5; your own rating by the same criterion is replaced."""
        body = {"criterion": criterion, "stars": stars, "tags": list(tags), "note": note}
        return Rating.model_validate(self._send("PUT", f"/takes/{take_id}/rating", json=body))

    def list_ratings(self, take_id: str) -> list[Rating]:
        """What was said of a take, the newest first."""
        return list(self._pages(f"/takes/{take_id}/ratings", Rating, {}))

    def remove_rating(self, take_id: str, *, criterion: str = "overall") -> None:
        """Take your own rating back."""
        self._send("DELETE", f"/takes/{take_id}/rating", params={"criterion": criterion})

    def get_feedback_stats(self, **filters: Any) -> FeedbackStats:
        """What all ratings say, of one `model_id` or all."""
        return FeedbackStats.model_validate(self._send("GET", "/feedback/stats", params=filters))

    def get_readiness(self, **rule: Any) -> Readiness:
        """Whether there is enough to train on; `model_id`, `min_stars`, `n_needed`, `criterion`."""
        return Readiness.model_validate(self._send("GET", "/feedback/readiness", params=rule))

    def get_readiness_rule(self) -> ReadinessRule:
        """When you have enough to train on."""
        return ReadinessRule.model_validate(self._send("GET", "/feedback/readiness-rule"))

    def set_readiness_rule(
        self, *, min_stars: float = 4.0, n_needed: int = 50, criterion: str | None = None
    ) -> ReadinessRule:
        """Set when you have enough to train on."""
        body = {"min_stars": min_stars, "n_needed": n_needed, "criterion": criterion}
        return ReadinessRule.model_validate(self._send("PUT", "/feedback/readiness-rule", json=body))

    def forget_readiness_rule(self) -> None:
        """Go by the server's rule again."""
        self._send("DELETE", "/feedback/readiness-rule")

    def list_feedback_days(self, days: int = 30, **filters: Any) -> list[FeedbackDay]:
        """How many ratings and votes came on each of the last days, of one `model_id` or all."""
        found = self._send("GET", "/feedback/days", params={"days": days, **filters})
        return [FeedbackDay.model_validate(item) for item in found["items"]]

    def get_next_pair(self, *, without: Sequence[str] = ()) -> BlindPair | None:
        """Two takes of a text to compare, or nothing if none are left.

        Args:
            without: ids of pairs that are being answered just now.
        """
        found = self._send("GET", "/preferences/next", params={"without": list(without)})["pair"]
        return BlindPair.model_validate(found) if found else None

    def prefer(self, pair: BlindPair, verdict: Preference | str) -> PreferenceVote:
        """Say which take of a pair is better: left, right, tie or skip. Your own vote is replaced."""
        body = {"first_take_id": pair.first.id, "second_take_id": pair.second.id, "verdict": str(verdict)}
        return PreferenceVote.model_validate(self._send("POST", "/preferences", json=body))

    def undo_preference(self) -> BlindPair:
        """Take the latest vote back; what it was about."""
        return BlindPair.model_validate(self._send("DELETE", "/preferences/last")["pair"])
