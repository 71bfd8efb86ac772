"""Datasets from S3 and Google Cloud Storage, through fsspec.

Without a credential of the dataset's owner everything is asked for anonymously. The server's own keys are
never used: `credentials.without_the_servers_own` hides them, and each file system is told so as well.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from qlora_studio.core.settings import Settings
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import credentials, staging
from qlora_studio.ingest.places import RemoteFile, shown_name
from qlora_studio.ingest.progress import FetchProgress
from qlora_studio.ingest.refusal import SourceRefused

GCS_ENDPOINT = "https://storage.googleapis.com"
_GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"
_READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"
_PIECE_BYTES = 8 << 20
_CONNECT_S, _READ_S = 10, 60
_LINK = re.compile(r"(s3|gs)://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(.*))?", re.DOTALL)
_DENIED = re.compile(r"40[13]\b|denied|forbidden|invalid.?access|signature|unauthor|credential|expired", re.I)
_ABSENT = re.compile(r"404\b|not ?found|no such|does not exist", re.I)


@dataclass(frozen=True, slots=True)
class Link:
    """`s3://bucket/prefix` or `gs://bucket/prefix`, taken apart."""

    kind: Literal["s3", "gs"]
    bucket: str
    prefix: str


def parse_link(url: str) -> Link:
    """Take a link to a bucket, a folder or a file in it apart.

    Raises:
        SourceRefused: it isn't one, or leads out of itself.
    """
    match = _LINK.fullmatch(url.strip())
    if match is None or len(url) > 2000 or any(ord(c) < 32 or ord(c) == 127 for c in url):
        raise SourceRefused("A link to cloud storage looks like s3://bucket/folder or gs://bucket/folder.")
    prefix = (match[3] or "").strip("/")
    if ".." in match[2] or ".." in prefix.split("/"):
        raise SourceRefused("The link leads out of its folder (..).")
    return Link("s3" if match[1] == "s3" else "gs", match[2], prefix)


def open_place(dataset: Dataset, settings: Settings) -> "Bucket":
    """The bucket that a dataset names, opened with its owner's credential or anonymously.

    Raises:
        SourceRefused: the link, the endpoint or the credential isn't usable.
        SecretLost: the credential can't be opened.
    """
    source = dataset.source
    link = parse_link(source["url"])
    keys: dict[str, str] = {}
    if source.get("credential_id"):
        keys = credentials.unlock(source["credential_id"], owner_id=dataset.owner_id, kind=link.kind)
    if link.kind == "gs":
        return _GoogleBucket(_open_google(keys), link)
    endpoint = source.get("endpoint_url")
    if endpoint and endpoint not in settings.s3_endpoint_urls:
        raise SourceRefused("That S3 server isn't allowed here any more (QLORA_STUDIO_S3_ENDPOINTS).")
    return _S3Bucket(_open_s3(keys, endpoint), link)


def _open_s3(keys: dict[str, str], endpoint: str | None) -> Any:
    from s3fs import S3FileSystem

    system = S3FileSystem(
        anon=not keys,
        key=keys.get("key"),
        secret=keys.get("secret"),
        token=keys.get("session_token"),
        endpoint_url=endpoint,
        client_kwargs={"region_name": keys.get("region") or "us-east-1"},
        config_kwargs={
            "connect_timeout": _CONNECT_S,
            "read_timeout": _READ_S,
            "retries": {"max_attempts": 3, "mode": "standard"},
        },
        cache_regions=endpoint is None,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    system.retries = 2  # botocore tries again by itself
    return system


def _open_google(keys: dict[str, str]) -> Any:
    from gcsfs.core import GCSFileSystem  # the other one asks with the machine's own account
    from google.oauth2 import service_account

    token: Any = "anon"
    if keys:
        # Only these fields: others name addresses to send the key to, or programs to run.
        given = json.loads(keys["service_account"])
        info = {name: given[name] for name in ("private_key", "client_email")} | {"token_uri": _GOOGLE_TOKENS}
        try:
            token = service_account.Credentials.from_service_account_info(info, scopes=[_READ_ONLY])
        except ValueError as error:
            raise SourceRefused("The service account's key is damaged. Add it again.") from error
    return GCSFileSystem(
        token=token,
        project="",
        access="read_only",
        endpoint_url=GCS_ENDPOINT,
        use_listings_cache=False,
        skip_instance_cache=True,
    )


class Bucket:
    """What both kinds share. `system` is an fsspec file system."""

    def __init__(self, system: Any, link: Link) -> None:
        self._system, self._link = system, link

    def list_files(self) -> Iterator[RemoteFile]:
        """Every file under the link, page by page."""
        prefix, token = self._link.prefix, None
        while True:
            with _explained():
                found, token = self._page(token)
            for key, size in found:
                is_inside = not prefix or key == prefix or key.startswith(f"{prefix}/")
                if is_inside and not key.endswith("/"):
                    yield RemoteFile(key, shown_name(key, prefix), size)
            if not token:
                return

    def bring(self, dataset_id: str, file: RemoteFile, progress: FetchProgress) -> None:
        """Stream one file into staging."""
        path = f"{self._link.bucket}/{file.key}"
        with staging.Receiver(
            dataset_id, file.name, start=0, size=file.size, max_bytes=file.size
        ) as receiver:
            for start in range(0, file.size, _PIECE_BYTES):
                end = min(start + _PIECE_BYTES, file.size)
                with _explained():
                    piece = self._system.cat_file(path, start=start, end=end)
                if len(piece) != end - start:
                    raise SourceRefused(f"{file.name} changed while it was fetched. Start it again.")
                receiver.write(piece)
                progress.add(len(piece))
            receiver.finish()

    def _page(self, token: str | None) -> tuple[list[tuple[str, int]], str | None]:
        raise NotImplementedError


class _S3Bucket(Bucket):
    def _page(self, token: str | None) -> tuple[list[tuple[str, int]], str | None]:
        more = {"ContinuationToken": token} if token else {}
        answer = self._system.call_s3(
            "list_objects_v2", Bucket=self._link.bucket, Prefix=self._link.prefix, **more
        )
        found = [(item["Key"], int(item["Size"])) for item in answer.get("Contents", [])]
        return found, answer.get("NextContinuationToken")


class _GoogleBucket(Bucket):
    def _page(self, token: str | None) -> tuple[list[tuple[str, int]], str | None]:
        more = {"pageToken": token} if token else {}
        answer = self._system.call(
            "GET",
            "b/{}/o",
            self._link.bucket,
            prefix=self._link.prefix,
            maxResults=1000,
            fields="items(name,size),nextPageToken",
            json_out=True,
            **more,
        )
        found = [(item["name"], int(item["size"])) for item in answer.get("items", [])]
        return found, answer.get("nextPageToken")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the clients of both clouds raise into a sentence; none of their own words are passed on."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__} {error}"
        if isinstance(error, PermissionError) or _DENIED.search(text):
            message = (
                "The bucket doesn't let us read it. Choose a credential that may, or check the one chosen."
            )
        elif isinstance(error, FileNotFoundError) or _ABSENT.search(text):
            message = "There is no such bucket, or nothing under that name."
        else:
            message = "The cloud storage can't be reached. Try again later."
        raise SourceRefused(message) from error
