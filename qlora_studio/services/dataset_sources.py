"""Where a dataset's files may come from, checked before any is fetched; and how much an account may keep."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from sqlmodel import Session, col, func, select

from qlora_studio.contracts.spec import Strict
from qlora_studio.core.errors import InvalidInput, TooLarge
from qlora_studio.core.hub import check_repo_id, check_revision
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest import quota
from qlora_studio.ingest.addresses import check_url
from qlora_studio.ingest.cloud import parse_link
from qlora_studio.ingest.manifests import FIELDS, LABEL_FROM, LABELS_FROM
from qlora_studio.ingest.refusal import SourceRefused
from qlora_studio.services import credentials
from qlora_studio.services.feedback_filter import FeedbackFilter

KINDS = ("upload", "folder", "url", "cloud", "hub", "example", "feedback")
_FIELDS_OF: dict[str, tuple[str, ...]] = {
    "folder": ("path",),
    "url": ("url",),
    "cloud": ("url", "credential_id", "endpoint_url"),
    "hub": ("repo_id", "revision", "credential_id"),
    "feedback": ("filter",),
}
_FULL = "Your space is used up: {held:.1f} of {limit:.1f} GB. Delete datasets that you no longer need."


def _offered(kind: Any) -> Any:
    if kind not in KINDS:
        raise ValueError(f"Datasets come from one of {', '.join(KINDS)}.")
    return kind


class DatasetSource(Strict):
    """Where the files come from.

    `path` goes with `folder`; `url` with `url` and `cloud` (s3://…, gs://…), `endpoint_url` with `cloud`;
    `repo_id` and `revision` with `hub`; `credential_id` with `cloud` and `hub`; `filter` with
    `feedback`. With `review` the files are fetched, and then wait until somebody has looked at the mapping
    and asks to take them in.
    """

    kind: Annotated[
        Literal["upload", "folder", "url", "cloud", "hub", "example", "feedback"], BeforeValidator(_offered)
    ]
    path: str | None = None
    url: Annotated[str | None, Field(max_length=2000)] = None
    endpoint_url: Annotated[str | None, Field(max_length=200)] = None
    repo_id: Annotated[str | None, Field(max_length=200)] = None
    revision: Annotated[str | None, Field(max_length=100)] = None
    credential_id: Annotated[str | None, Field(max_length=32)] = None
    filter: FeedbackFilter | None = None
    review: bool | None = None


def checked(session: Session, *, actor: User, source: DatasetSource) -> dict[str, Any]:
    """Return the source as the dataset keeps it.

    Raises:
        InvalidInput: a field is missing, doesn't belong to this kind, or may not be used.
        NotFound: the credential isn't the actor's.
    """
    values = source.model_dump(exclude_none=True)
    allowed = _FIELDS_OF.get(source.kind, ())
    for name in set(values) - {"kind", "review"} - set(allowed):
        raise _wrong(name, f"{name} doesn't go with a source of kind {source.kind}.")
    if source.kind == "folder":
        values["path"] = str(_allowed_folder(source.path))
    elif source.kind == "url":
        _check("url", lambda: check_url(source.url or "", ports=get_settings().url_port_numbers))
    elif source.kind == "cloud":
        kind = _check("url", lambda: parse_link(source.url or "")).kind
        _check_endpoint(source.endpoint_url, kind)
        _check_credential(session, actor, source.credential_id, kind)
    elif source.kind == "hub":
        values["repo_id"] = check_repo_id(source.repo_id or "")
        values["revision"] = check_revision(source.revision or "main")
        _check_credential(session, actor, source.credential_id, "hub")
    elif source.kind == "feedback":
        if source.review:
            raise _wrong("review", "Takes come with their texts: there is nothing to look at before.")
        values["filter"] = (source.filter or FeedbackFilter()).model_dump(mode="json", exclude_none=True)
    return values


def check_mapping(mapping: dict[str, str]) -> None:
    """Raise InvalidInput if a mapping names something that isn't a field, or no way to get labels."""
    for key, value in mapping.items():
        if key == LABEL_FROM and value not in LABELS_FROM:
            raise _mapping_wrong(f"{LABEL_FROM} is one of {', '.join(LABELS_FROM)}.")
        if key not in (*FIELDS, LABEL_FROM):
            raise _mapping_wrong(f"{key[:40]} isn't a field; use {', '.join((*FIELDS, LABEL_FROM))}.")


def check_count(session: Session, *, actor: User) -> None:
    """Raise TooLarge if the actor has as many datasets, or as many bytes, as one account may."""
    count = session.exec(select(func.count()).where(col(Dataset.owner_id) == actor.id)).one()
    if count >= get_settings().max_datasets_per_user:
        raise TooLarge(f"You have {count:,} datasets, the most one account may. Delete one first.")
    left_bytes(session, actor=actor)


def left_bytes(session: Session, *, actor: User) -> int:
    """How many more bytes the actor may keep.

    Raises:
        TooLarge: none.
    """
    limit = quota.limit_bytes(session, actor.id)
    held = quota.held_bytes(session, actor.id)
    if held >= limit:
        raise TooLarge(_FULL.format(held=held / 1e9, limit=limit / 1e9))
    return limit - held


def _check(field: str, check: Any) -> Any:
    try:
        return check()
    except SourceRefused as refusal:
        raise _wrong(field, str(refusal)) from refusal


def _check_endpoint(endpoint: str | None, kind: str) -> None:
    if endpoint is None:
        return
    allowed = get_settings().s3_endpoint_urls
    if kind != "s3" or endpoint not in allowed:
        listed = " or ".join(allowed) or "none: QLORA_STUDIO_S3_ENDPOINTS isn't set on this server"
        raise _wrong("endpoint_url", f"Other S3 servers that may be used: {listed}.")


def _check_credential(session: Session, actor: User, credential_id: str | None, kind: str) -> None:
    if credential_id is None:
        return
    found = credentials.get_credential(session, actor=actor, credential_id=credential_id)
    if found.kind != kind:
        raise _wrong("credential_id", f"{found.name} is a credential for {found.kind}, not for {kind}.")


def _allowed_folder(path: str | None) -> Path:
    """The same answer for a folder outside the roots and one that isn't there: nothing is given away."""
    roots = get_settings().dataset_root_paths
    if not roots:
        raise _wrong(
            "path", "No server folder may be used: QLORA_STUDIO_DATASET_ROOTS isn't set on this server."
        )
    message = f"Give a folder under {' or '.join(str(r) for r in roots)}."
    if not path or "\0" in path:
        raise _wrong("path", message)
    resolved = Path(path).resolve()
    if not any(resolved.is_relative_to(root) for root in roots) or not resolved.is_dir():
        raise _wrong("path", message)
    return resolved


def _wrong(field: str, message: str) -> InvalidInput:
    return InvalidInput(message, fields={f"source.{field}": message})


def _mapping_wrong(message: str) -> InvalidInput:
    return InvalidInput(message, fields={"mapping": message})
