from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session

from qlora_studio.api import build_api
from qlora_studio.api.security import current_user
from qlora_studio.contracts.enums import Role
from qlora_studio.db.models import User
from qlora_studio.services import audit


@pytest.fixture
def client(data_folder: Path, user: User) -> TestClient:
    api = build_api()
    api.dependency_overrides[current_user] = lambda: user
    return TestClient(api, base_url="http://localhost/api/v1")


def test_system_names_device_memory_disk_queue_and_versions(client: TestClient) -> None:
    found = client.get("/system").json()
    assert found["device"]["kind"] in {"cpu", "cuda"}
    assert found["device"]["n_cores"] >= 1
    assert found["device"]["most_per_job"] >= 1
    assert 0 < found["memory"]["used_bytes"] < found["memory"]["total_bytes"]
    assert 0 < found["disk"]["free_bytes"] <= found["disk"]["total_bytes"]
    assert found["queue"] == {"running": 0, "queued": 0, "slots": 1, "is_paused": False}
    assert {"python", "torch", "peft", "bitsandbytes"} <= set(found["versions"])


def test_audit_is_for_admins(client: TestClient, session: Session, user: User) -> None:
    for name in ("first", "second"):
        audit.record(
            session, actor=user, action="dataset.create", object_name=name, details={"note": "token=abc"}
        )
    session.commit()
    assert client.get("/audit").status_code == 403
    user.role = Role.ADMIN
    page = client.get("/audit", params={"query": "sec"}).json()
    assert [line["object_name"] for line in page["items"]] == ["second"]
    assert page["total"] == 1
    assert "abc" not in str(page)


@pytest.mark.slow
def test_reference_page_lists_every_route_and_fetches_nothing(client: TestClient) -> None:
    page = client.get("/docs")
    description = client.get("/openapi.json").json()
    assert page.headers["content-type"].startswith("text/html")
    for path in description["paths"]:
        assert f"<code>{path}</code>" in page.text
    assert "<script" not in page.text
    assert "https://" not in page.text
