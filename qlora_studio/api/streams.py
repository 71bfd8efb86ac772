"""Answers that go on as long as their reader likes: one person has only so many open at once.

An open stream of events is looked after ten times a second, and a download that nobody reads holds its
pieces; two hundred of either would take a core or a gigabyte from everybody else.
"""

from collections import Counter
from collections.abc import AsyncIterable, Iterable, Mapping

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from qlora_studio.api.problems import problem_of
from qlora_studio.core.errors import TooManyTries
from qlora_studio.core.settings import get_settings

_RETRY_AFTER_S = 5
_n_open: Counter[str] = Counter()  # by user; touched by the event loop only


class OneOfAFew(StreamingResponse):
    """A stream for `user_id`; 429 where that person has `max_streams` open already."""

    def __init__(
        self,
        content: Iterable[bytes] | AsyncIterable[str],
        *,
        user_id: str,
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._user_id = user_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, or say that there are too many."""
        most = get_settings().max_streams
        if _n_open[self._user_id] >= most:
            told = f"You have {most} downloads and streams of events open. Close one, or wait until one ends."
            refusal = problem_of(TooManyTries(told, retry_after_s=_RETRY_AFTER_S))
            await refusal(scope, receive, send)
            return
        _n_open[self._user_id] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            _n_open[self._user_id] -= 1
            if not _n_open[self._user_id]:
                del _n_open[self._user_id]
