"""Takes over REST: asked for once, followed, heard by their owner alone, called off."""

import pytest
from fastapi.testclient import TestClient

from qlora_studio.api.security import current_user
from qlora_studio.contracts.enums import Role
from tests.services.test_generations import host, model, sound_model
from tests.waiting import wait_for

__all__ = ["host", "model"]


@pytest.fixture
def body(model) -> dict:
    return {"prompt": "rain", "model_id": model.id, "duration_s": 0.2, "seed": 3, "n_takes": 2}


def finished(client: TestClient, body: dict) -> dict:
    made = client.post("/generations", json=body)
    assert made.status_code == 202, made.text
    url = f"/generations/{made.json()['id']}"
    wait_for(lambda: client.get(url).json()["status"] in ("succeeded", "failed"))
    return client.get(url).json()


def test_asked_for_twice_with_one_key_it_is_made_once(host, client, body) -> None:
    headers = {"Idempotency-Key": "one"}
    first, again = (client.post("/generations", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.json()["status"] == "queued"
    wait_for(lambda: client.get("/generations?status=succeeded").json()["total"] == 1)
    page = client.get("/generations").json()
    assert (page["total"], page["page"], page["page_size"]) == (1, 1, 25)
    assert [take["seed"] for take in page["items"][0]["takes"]] == [3, 4]
    assert client.get("/generations?query=snow").json()["total"] == 0
    assert client.get("/generations?sort=odd").status_code == 422


def test_a_sound_is_its_owners_alone(host, api, client, stranger, body) -> None:
    made = finished(client, body)
    take = made["takes"][0]
    assert (take["index"], take["generation_id"], take["mean_stars"]) == (0, made["id"], None)
    url = f"/takes/{take['id']}"
    assert client.get(url).json() == take
    whole = client.get(f"{url}/audio")
    assert (whole.status_code, whole.headers["content-type"]) == (200, "audio/wav")
    assert len(whole.content) == take["size_bytes"]
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = client.get(f"{url}/audio", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")
    assert client.head(f"{url}/audio").status_code == 200
    api.dependency_overrides[current_user] = lambda: stranger
    for path in (url, f"{url}/audio", f"/generations/{made['id']}", "/takes/..%2Fstudio.db/audio"):
        assert client.get(path, headers={"Range": "bytes=0-3"}).status_code == 404, path
    assert client.head(f"{url}/audio").status_code == 404
    assert client.delete(f"/generations/{made['id']}").status_code == 404
    assert client.post("/generations", json=body).status_code == 404
    assert client.get("/generations").json()["total"] == 0


@pytest.mark.slow
def test_removed_it_is_gone(host, client, body) -> None:
    made = finished(client, body)
    assert client.delete(f"/generations/{made['id']}").status_code == 204
    for path in (f"/generations/{made['id']}", f"/takes/{made['takes'][0]['id']}/audio"):
        assert client.get(path).status_code == 404


def test_a_failure_is_a_sentence(host, client, session, user, body) -> None:
    failed = finished(client, body | {"model_id": sound_model(session, user, "refuse").id})
    assert (failed["status"], failed["error"], failed["takes"]) == ("failed", "No.", [])


def test_what_is_refused(host, client, user, body) -> None:
    wrong = (
        {"prompt": ""}, {"duration_s": 0}, {"duration_s": 31}, {"seed": -1}, {"n_takes": 0}, {"n_takes": 17},
        {"guidance": 0.5}, {"guidance": "NaN"}, {"temperature": 0}, {"strength": 3}, {"path": "/etc/passwd"},
    )  # fmt: skip
    for values in wrong:
        refused = client.post("/generations", json=body | values)
        assert refused.status_code == 422, values
        assert refused.json()["errors"][0]["field"] == next(iter(values))
    user.role = Role.RATER
    assert client.post("/generations", json=body).status_code == 403


def test_shared_it_is_heard_rated_and_still_its_owners(host, api, client, user, stranger, body) -> None:
    made = finished(client, body | {"sharing": "use"})
    take, url = made["takes"][0]["id"], f"/generations/{made['id']}"
    assert (made["sharing"], made["owner_id"]) == ("use", user.id)
    assert client.get("/generations/shared").json()["total"] == 0
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get("/generations/shared").json()["items"] == [made]
    assert client.get(f"/takes/{take}/audio").status_code == 200
    assert client.put(f"/takes/{take}/rating", json={"stars": 5}).status_code == 200
    assert client.get("/preferences/next").json()["pair"]["prompt"] == "rain"
    assert client.patch(url, json={"sharing": "private"}).status_code == 404
    assert client.delete(url).status_code == 404
    api.dependency_overrides[current_user] = lambda: user
    assert client.patch(url, json={"sharing": "odd"}).status_code == 422
    assert client.patch(url, json={"sharing": "read"}).json()["sharing"] == "read"
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.put(f"/takes/{take}/rating", json={"stars": 1}).status_code == 403
    assert client.get("/preferences/next").json()["pair"] is None


def test_favourites_and_filters(host, api, client, stranger, body) -> None:
    made = finished(client, body)
    take = made["takes"][0]["id"]
    assert (made["takes"][0]["is_favorite"], made["listening_test_id"]) == (False, None)
    for _ in range(2):
        assert client.put(f"/takes/{take}/favorite").status_code == 204
    client.put(f"/takes/{take}/rating", json={"stars": 4, "tags": ["warm"]})
    assert client.get(f"/takes/{take}").json()["is_favorite"]
    (liked,) = client.get("/generations?favorite=true").json()["items"]
    assert [one["is_favorite"] for one in liked["takes"]] == [True, False]
    for query, n in (
        ("rated=true", 1),
        ("rated=false", 0),
        ("tag=Warm", 1),
        ("tag=cold", 0),
        ("from_tests=1", 0),
    ):
        assert client.get(f"/generations?{query}").json()["total"] == n, query
    assert client.delete(f"/takes/{take}/favorite").status_code == 204
    assert client.get("/generations?favorite=true").json()["total"] == 0
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.put(f"/takes/{take}/favorite").status_code == 404


def test_texts_under_a_name(api, client, user, stranger) -> None:
    asked = {"name": "Roof", "prompt": "rain on a roof", "n_takes": 3}
    made = client.post("/prompt-templates", json=asked, headers={"Idempotency-Key": "one"})
    assert (made.status_code, made.json()["duration_s"], made.json()["seed"]) == (201, 8.0, None)
    assert (
        client.post("/prompt-templates", json=asked, headers={"Idempotency-Key": "one"}).json() == made.json()
    )
    assert client.post("/prompt-templates", json=asked).status_code == 409
    assert client.post("/prompt-templates", json=asked | {"name": ""}).status_code == 422
    url = f"/prompt-templates/{made.json()['id']}"
    assert client.patch(url, json={"name": "Tin"}).json()["name"] == "Tin"
    assert [one["name"] for one in client.get("/prompt-templates").json()["items"]] == ["Tin"]
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get("/prompt-templates").json()["total"] == 0
    assert {client.get(url).status_code, client.delete(url).status_code} == {404}
    api.dependency_overrides[current_user] = lambda: user
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
