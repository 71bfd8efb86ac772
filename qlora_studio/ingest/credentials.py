"""Keys that a dataset's owner gave, opened only in the process that fetches; and no others in their place."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from qlora_studio.core import secrets
from qlora_studio.db import engine
from qlora_studio.db.models.dataset import Credential
from qlora_studio.ingest.refusal import SourceRefused

_PREFIXES = ("AWS_", "BOTO", "GOOGLE_", "GCLOUD_", "GCSFS_", "CLOUDSDK_", "GCE_", "FSSPEC_", "HF_TOKEN")
_NAMES = frozenset(
    ("HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "STORAGE_EMULATOR_HOST", "QLORA_STUDIO_SMTP_PASSWORD")
)
_NOTHING_TO_FIND = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_GCE_CHECK": "true",
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # it would ask with the machine's own account
}


def unlock(credential_id: str, *, owner_id: str, kind: str) -> dict[str, str]:
    """Return what a credential holds.

    Raises:
        SourceRefused: it was deleted, is somebody else's, or is for something else.
        SecretLost: it can't be opened any more.
    """
    with engine.read() as session:
        credential = session.get(Credential, credential_id)
    if credential is None or credential.owner_id != owner_id or credential.kind != kind:
        raise SourceRefused("The credential it was to be fetched with isn't there any more. Choose another.")
    return json.loads(secrets.unseal(credential.ciphertext))


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without the server's own keys to clouds and hubs."""
    kept = {k: v for k, v in environment.items() if not k.startswith(_PREFIXES) and k not in _NAMES}
    return kept | _NOTHING_TO_FIND


@contextmanager
def without_the_servers_own() -> Iterator[None]:
    """Hide the server's own keys from every library that would look for some by itself."""
    import fsspec.config

    before, configured = dict(os.environ), dict(fsspec.config.conf)
    after = scrubbed(before)
    _replace_environment(after)
    fsspec.config.conf.clear()
    try:
        yield
    finally:
        _replace_environment(before)
        fsspec.config.conf.update(configured)


def _replace_environment(wanted: Mapping[str, str]) -> None:
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
