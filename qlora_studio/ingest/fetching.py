"""Fetch one file from the web into staging, trusting neither its address nor its server.

A connection that drops is taken up again where it broke off (RFC 9110, Range and If-Range), a few times. The
file counts as received only once all its bytes are here.
"""

import re
import time
from email.message import Message
from pathlib import PurePosixPath
from urllib.parse import unquote

import httpcore
import httpx

from qlora_studio.core.errors import TooLarge
from qlora_studio.core.settings import Settings
from qlora_studio.ingest import staging
from qlora_studio.ingest.addresses import CheckedBackend, Patience, check_url
from qlora_studio.ingest.names import clean_name
from qlora_studio.ingest.progress import FetchProgress
from qlora_studio.ingest.refusal import SourceRefused

MAX_REDIRECTS = 5
TRIES = 5
WAIT_S = 1.0  # before the second try, then twice as long each time
_FORGIVEN_BYTES = 1 << 20  # a connection that brought this much counts as none that failed
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_ZIP_MAGIC = b"PK\x03\x04"


class _Unfinished(Exception):
    """It broke off, or the server is busy: worth another try. The text is for the person."""


def fetch(dataset_id: str, url: str, *, settings: Settings, max_bytes: int, progress: FetchProgress) -> None:
    """Fetch the file at `url` into the dataset's staging; one that is there already isn't fetched again.

    Raises:
        SourceRefused: the address may not be asked, the server doesn't give the file, or not all of it.
        StorageFull: the disk hasn't got the room.
    """
    received = staging.list_received(dataset_id)
    if received and all(item.is_complete for item in received):
        return
    for item in received:
        staging.forget(dataset_id, item.name)
    patience = Patience(
        total_s=settings.fetch_total_s,
        idle_s=settings.fetch_idle_s,
        slowest_bytes_s=settings.fetch_slowest_bytes_s,
    )
    with httpcore.ConnectionPool(network_backend=CheckedBackend(patience), max_connections=1) as pool:
        _Download(
            dataset_id,
            url,
            pool=pool,
            ports=settings.url_port_numbers,
            max_bytes=max_bytes,
            progress=progress,
        ).run(patience)


class _Download:
    """What is known of the file so far: name, bytes held, and the server's mark for this content."""

    def __init__(
        self,
        dataset_id: str,
        url: str,
        *,
        pool: httpcore.ConnectionPool,
        ports: frozenset[int],
        max_bytes: int,
        progress: FetchProgress,
    ) -> None:
        self._dataset_id, self._url, self._pool = dataset_id, url, pool
        self._ports, self._max_bytes, self._progress = ports, max_bytes, progress
        self._name, self._mark = "", ""
        self._held, self._total = 0, None

    def run(self, patience: Patience) -> None:
        failed = 0
        while True:
            before = self._held
            try:
                return self._follow(check_url(self._url, ports=self._ports))
            except _Unfinished as error:
                reason = str(error)
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
                reason = _explain(error)
            except TooLarge as error:
                raise SourceRefused(error.message) from error
            failed = 1 if self._held - before >= _FORGIVEN_BYTES else failed + 1
            if failed >= TRIES:
                raise SourceRefused(f"{reason} It was tried {TRIES} times; nothing was taken in.")
            time.sleep(min(WAIT_S * 2 ** (failed - 1), patience.wait_s()))

    def _follow(self, url: httpx.URL) -> None:
        for _ in range(MAX_REDIRECTS + 1):
            target = httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            )
            with self._pool.stream("GET", target, headers=self._headers()) as answer:
                if answer.status not in _REDIRECTS:
                    return self._take(answer, url)
                location = _header(answer, "location")
            try:
                url = check_url(str(url.join(location)), ports=self._ports)
            except (httpx.InvalidURL, ValueError) as error:
                raise SourceRefused("The server sends on to something that isn't an address.") from error
        raise SourceRefused(f"The server sends on more than {MAX_REDIRECTS} times.")

    def _headers(self) -> list[tuple[str, str]]:
        headers = [("Accept-Encoding", "identity"), ("User-Agent", "qlora-studio"), ("Accept", "*/*")]
        if self._held and self._mark:
            headers += [("Range", f"bytes={self._held}-"), ("If-Range", self._mark)]
        return headers

    def _take(self, answer: httpcore.Response, url: httpx.URL) -> None:
        self._begin(answer)
        pieces = answer.iter_stream()
        first = next(pieces, b"")  # type: ignore[call-overload]
        self._name = self._name or _name_of(answer, url, first)
        self._progress.total, self._progress.done = self._total, self._held
        with staging.Receiver(
            self._dataset_id, self._name, start=self._held, size=self._total, max_bytes=self._max_bytes
        ) as receiver:
            while first:
                receiver.write(first)
                self._held = receiver.received
                self._progress.add(len(first))
                first = next(pieces, b"")  # type: ignore[call-overload]
            if self._total is not None and self._held != self._total:
                raise _Unfinished("The server broke off.")
            receiver.finish()
        self._progress.tell()

    def _begin(self, answer: httpcore.Response) -> None:
        """Read the answer's head; decide where its body begins and how long the whole file is."""
        if answer.status in _BUSY:
            raise _Unfinished(f"The server is busy or broken (it answered {answer.status}).")
        if answer.status not in (200, 206):
            raise SourceRefused(_refusal(answer.status))
        if _header(answer, "content-encoding") not in ("", "identity"):
            raise SourceRefused("The server packs the file in a way that wasn't asked for.")
        if answer.status == 206:
            match = _RANGE.fullmatch(_header(answer, "content-range"))
            if match is None or int(match[1]) != self._held or int(match[3]) != self._total:
                self._held, self._mark = 0, ""
                raise _Unfinished("The server went on at another place than it was asked for.")
            return
        length = _header(answer, "content-length")
        if not length.isdigit() and "chunked" not in _header(answer, "transfer-encoding").lower():
            raise SourceRefused(
                "The server doesn't say where the file ends, so it can't be told to be whole."
            )
        self._held, self._total = 0, int(length) if length.isdigit() else None
        if (self._total or 0) > self._max_bytes:
            raise SourceRefused(f"The file is over the limit of {self._max_bytes:,} bytes.")
        mark = _header(answer, "etag")
        is_strong = mark and not mark.startswith("W/")
        self._mark = mark if is_strong else _header(answer, "last-modified")
        if self._total is None:
            self._mark = ""  # without a length there is no telling whether the rest fits


def _header(answer: httpcore.Response, name: str) -> str:
    wanted = name.encode()
    return next((v.decode("latin-1").strip() for k, v in answer.headers if k.lower() == wanted), "")


def _name_of(answer: httpcore.Response, url: httpx.URL, first: bytes) -> str:
    head = Message()
    head["Content-Disposition"] = _header(answer, "content-disposition") or "inline"
    given = head.get_filename() or unquote(PurePosixPath(url.path).name)
    name = PurePosixPath(clean_name(given)).name
    if first.startswith(_ZIP_MAGIC) and not name.lower().endswith(".zip"):
        name += ".zip"
    return name


def _explain(error: Exception) -> str:
    if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
        return "The server can't be reached."
    if isinstance(error, httpcore.TimeoutException):
        return "The server went silent."
    return "The server broke off."


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"The server doesn't give the file to everybody ({status}). Download it and upload it here."
    if status in (404, 410):
        return f"There is no file at this address ({status})."
    return f"The server answered {status} instead of the file."
