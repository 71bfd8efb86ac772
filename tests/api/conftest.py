"""The REST API as somebody who is signed in meets it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from qlora_studio.api import build_api
from qlora_studio.api.security import current_user, still_signed_in
from qlora_studio.db.models import User


@pytest.fixture
def api(data_folder: Path) -> FastAPI:
    return build_api()


@pytest.fixture
def client(api: FastAPI, user: User) -> Iterator[TestClient]:
    """Requests of `user`; a test may override `current_user` to be somebody else."""
    api.dependency_overrides[current_user] = lambda: user
    api.dependency_overrides[still_signed_in] = lambda: lambda: True
    with TestClient(api, base_url="http://127.0.0.1/api/v1") as opened:
        yield opened
