"""What the client gives back about feedback as a whole."""

from typing import Any

from qlora_studio.client_answers import Answer


class FeedbackStats(Answer):
    """What all ratings say; `criteria` and `prompts` as the server tells them."""

    n_takes: int
    n_rated: int
    n_ratings: int
    mean_stars: float | None
    criteria: list[dict[str, Any]]
    prompts: list[dict[str, Any]]


class FeedbackPreview(Answer):
    """What a dataset from feedback would be made of."""

    n_rows: int
    n_takes: int
    n_prompts: int
    model_ids: list[str]


class FeedbackUpdate(Answer):
    """What bringing a dataset from feedback up to date would do, in rows."""

    n_added: int
    n_removed: int
    n_kept: int
    n_left_out: int
    n_rows: int
    is_up_to_date: bool
    message: str


class Readiness(Answer):
    """Whether there is enough to train on."""

    is_ready: bool
    n_good: int
    n_needed: int
    min_stars: float
    criterion: str | None = None
    message: str


class ReadinessRule(Answer):
    """When there is enough to train on; `is_own` if you have set it."""

    criterion: str | None
    min_stars: float
    n_needed: int
    is_own: bool


class FeedbackDay(Answer):
    """How many ratings and votes came on a day of UTC's."""

    day: str
    n_ratings: int
    n_votes: int
