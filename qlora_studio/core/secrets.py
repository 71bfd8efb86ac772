"""Secrets at rest, sealed with a key that only this data folder has.

The key is derived from `secret.key` (32 random bytes, mode 0600) by HKDF (RFC 5869), so that the database
alone opens nothing; sealing is Fernet: AES-128-CBC with HMAC-SHA256, from the cryptography library.
"""

import base64
import contextlib
import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from qlora_studio.core.errors import StudioError
from qlora_studio.core.settings import get_settings

_SECRET_BYTES = 32


class SecretLost(StudioError):
    """What was sealed can't be opened: `secret.key` is another one now."""


def seal(text: str) -> str:
    """Return `text` encrypted and authenticated, as ASCII."""
    return _fernet().encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """Return what `seal` was given.

    Raises:
        SecretLost: another data folder sealed it, or it was changed.
    """
    try:
        return _fernet().decrypt(sealed).decode()
    except InvalidToken:
        raise SecretLost(
            "It can't be read any more, since secret.key has changed. Delete it, and add it again."
        ) from None


def _fernet() -> Fernet:
    derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"qlora-studio credentials v1")
    return Fernet(base64.urlsafe_b64encode(derive.derive(_secret())))


def _secret() -> bytes:
    """The data folder's secret, made once; of two that make it at the same moment one wins for both."""
    path = get_settings().data_path / "secret.key"
    if not path.exists():
        _make(path)
    secret = path.read_bytes()
    if len(secret) != _SECRET_BYTES:
        raise SecretLost(f"{path.name} in the data folder is damaged. Put it back from a backup.")
    return secret


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
