"""What every call of the client rests on: the connection, errors, lists page by page, downloads."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

import httpx

from qlora_studio.client_answers import Answer

POLL_S = 0.5
A = TypeVar("A", bound=Answer)


class ApiError(Exception):
    """The server refused. `status` is HTTP's; `errors` maps fields to their sentence."""

    def __init__(self, status: int, title: str, detail: str, errors: Mapping[str, str]) -> None:
        super().__init__(detail or title)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = dict(errors)


class Connection:
    """A connection to a server.

    Args:
        address: scheme, host and port.
        token: a bearer token; `Studio.log_in` gets one.
        transport: for tests, how requests travel.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:3000",
        *,
        token: str = "",
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        base = address.rstrip("/") + "/api/v1"
        self._http = httpx.Client(base_url=base, timeout=timeout_s, transport=transport)
        if token:
            self._http.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, method: str, path: str, **options: Any) -> Any:
        answer = self._http.request(method, path, **options)
        raise_for(answer)
        return answer.json() if answer.content else None

    def _pages(self, path: str, kind: type[A], filters: Mapping[str, Any]) -> Iterator[A]:
        page, n_seen = 1, 0
        while True:
            body = self._send("GET", path, params={"page_size": 100, **filters, "page": page})
            for item in body["items"]:
                yield kind.model_validate(item)
            n_seen += len(body["items"])
            if not body["items"] or n_seen >= body["total"]:
                return
            page += 1

    def _download(self, path: str, to: Path, *, params: Mapping[str, Any] | None = None) -> Path:
        with self._http.stream("GET", path, params=params) as answer:
            raise_for(answer)
            with to.open("wb") as file:
                for piece in answer.iter_bytes():
                    file.write(piece)
        return to


def raise_for(answer: httpx.Response) -> None:
    """Raise `ApiError` for an answer that refuses."""
    if answer.is_success:
        return
    answer.read()
    try:
        body = answer.json()
    except ValueError:
        body = {}
    errors = {item["field"]: item["message"] for item in body.get("errors", [])}
    raise ApiError(
        answer.status_code, body.get("title", answer.reason_phrase), body.get("detail", ""), errors
    )


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Read a file bit by bit, to be sent."""
    while piece := file.read(1 << 20):
        yield piece


def sleep_until(deadline: float) -> None:
    """Wait a little before the next look; `deadline` is of the monotonic clock, in seconds.

    Raises:
        TimeoutError: the deadline is over.
    """
    if time.monotonic() > deadline:
        raise TimeoutError("It takes longer than was waited for.")
    time.sleep(POLL_S)
