"""Keys to clouds and the Hub that people give for their own datasets. What they hold is never shown again."""

import json
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints, field_validator
from sqlmodel import Session, col, func, select

from qlora_studio.contracts.spec import Strict
from qlora_studio.core import secrets
from qlora_studio.core.errors import NotFound, TooLarge
from qlora_studio.db.models import User
from qlora_studio.db.models.dataset import Credential
from qlora_studio.services import access, audit

MAX_PER_USER = 50
_SERVICE_ACCOUNT_FIELDS = ("type", "private_key", "client_email")

CredentialName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=4000)]


class S3Key(Strict):
    """An access key of S3. `session_token` only with temporary ones; `region` if the bucket's isn't found."""

    kind: Literal["s3"]
    name: CredentialName
    key: Secret
    secret: Secret
    session_token: Secret | None = None
    region: Annotated[str | None, Field(pattern=r"^[a-z0-9-]{2,40}$")] = None


class GoogleKey(Strict):
    """A service account of Google Cloud: the text of its JSON key file."""

    kind: Literal["gs"]
    name: CredentialName
    service_account: Annotated[SecretStr, Field(min_length=2, max_length=10_000)]

    @field_validator("service_account")
    @classmethod
    def _is_service_account(cls, value: SecretStr) -> SecretStr:
        try:
            given = json.loads(value.get_secret_value())
        except (ValueError, RecursionError):
            given = None
        kept = {n: given.get(n) for n in _SERVICE_ACCOUNT_FIELDS} if isinstance(given, dict) else {}
        if kept.get("type") != "service_account" or not all(isinstance(v, str) for v in kept.values()):
            raise ValueError("Paste the JSON key file of a service account.")
        return SecretStr(json.dumps(kept))


class HubToken(Strict):
    """A token of the Hugging Face Hub; one that may only read is enough."""

    kind: Literal["hub"]
    name: CredentialName
    token: Annotated[SecretStr, Field(min_length=4, max_length=200)]

    @field_validator("token")
    @classmethod
    def _is_one_word(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("A token is one word of letters, digits and “_”.")
        return SecretStr(text)


CredentialCreate = Annotated[S3Key | GoogleKey | HubToken, Field(discriminator="kind")]


def create(session: Session, *, actor: User, form: S3Key | GoogleKey | HubToken) -> Credential:
    """Keep a credential, sealed.

    Raises:
        Forbidden: the actor's role may only look.
        TooLarge: the actor has as many as one account may.
    """
    access.require_role(actor, of="credential")
    count = session.exec(select(func.count()).where(col(Credential.owner_id) == actor.id)).one()
    if count >= MAX_PER_USER:
        raise TooLarge(f"You have {count} credentials, the most one account may. Delete one first.")
    held = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in form
        if name not in ("kind", "name") and value is not None
    }
    credential = Credential(
        owner_id=actor.id, name=form.name, kind=form.kind, ciphertext=secrets.seal(json.dumps(held))
    )
    session.add(credential)
    session.flush()
    _audit(session, actor, "credential.create", credential)
    return credential


def list_credentials(session: Session, *, actor: User, kind: str = "") -> list[Credential]:
    """The actor's credentials by name, without what they hold; of one kind (s3, gs, hub) or of all."""
    query = select(Credential).where(col(Credential.owner_id) == actor.id)
    if kind:
        query = query.where(col(Credential.kind) == kind)
    return list(session.exec(query.order_by(func.lower(col(Credential.name)), col(Credential.id))))


def get_credential(session: Session, *, actor: User, credential_id: str) -> Credential:
    """Return one of the actor's credentials.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    credential = session.get(Credential, credential_id)
    if credential is None or credential.owner_id != actor.id:
        raise NotFound("There is no such credential.")
    return credential


def delete(session: Session, *, actor: User, credential_id: str) -> None:
    """Delete a credential. Datasets that were fetched with it stay.

    Raises:
        NotFound: it isn't the actor's.
    """
    access.require_role(actor, of="credential")
    credential = get_credential(session, actor=actor, credential_id=credential_id)
    _audit(session, actor, "credential.delete", credential)
    session.delete(credential)


def _audit(session: Session, actor: User, action: str, credential: Credential) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="credential",
        object_id=credential.id,
        object_name=credential.name,
    )
