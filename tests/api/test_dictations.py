"""Dictations over REST: asked for once, followed, corrected, made a dataset of, by their owner alone."""

from fastapi.testclient import TestClient

from qlora_studio.api.security import current_user
from tests.services.test_dictations import dataset, host, model
from tests.waiting import wait_for

__all__ = ["dataset", "host", "model"]


def finished(client: TestClient, url: str) -> dict:
    wait_for(lambda: client.get(url).json()["status"] in ("succeeded", "failed", "stopped"))
    return client.get(url).json()


def test_from_recordings_to_a_dataset_of_corrections(host, api, client, stranger, dataset, model) -> None:
    body = {"model_id": model.id}
    headers = {"Idempotency-Key": "one"}
    ask = f"/datasets/{dataset.id}/dictations"
    first, again = (client.post(ask, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, first.json()) == (202, again.json()), first.text
    url = f"/dictations/{first.json()['id']}"
    done = finished(client, url)
    assert (done["status"], done["n_clips"], done["n_done"], done["error"]) == ("succeeded", 3, 3, "")
    assert client.get(ask).json()["items"] == [done]
    page = client.get(f"{url}/clips?show=open&page_size=2").json()
    assert (len(page["items"]), page["total"], page["items"][0]["text"]) == (2, 3, None)
    clips = client.get(f"{url}/clips").json()["items"]
    one = f"{url}/clips/{clips[0]['clip_id']}"
    assert client.post(f"{url}/apply").status_code == 409
    assert client.put(one, json={"text": " "}).status_code == 422
    assert client.put(one, json={"text": "what was said"}).status_code == 204
    assert client.put(f"{url}/clips/clip_none", json={"text": "x"}).status_code == 404
    assert client.get(f"{url}/clips?show=checked").json()["items"][0]["text"] == "what was said"
    assert client.post(f"{url}/apply").json() == {"n_changed": 1, "version": dataset.version + 1}
    made = client.post(f"{url}/dataset", json={"name": "Corrected"})
    assert (made.status_code, made.json()["n_clips"], made.json()["status"]) == (201, 1, "ready")
    assert client.delete(one).status_code == 204
    assert client.get(url).json()["n_checked"] == 0
    api.dependency_overrides[current_user] = lambda: stranger
    for method, path in (
        ("GET", url),
        ("GET", f"{url}/clips"),
        ("GET", ask),
        ("POST", f"{url}/stop"),
        ("POST", f"{url}/apply"),
        ("DELETE", url),
        ("DELETE", one),
    ):
        assert client.request(method, path).status_code == 404, (method, path)
    assert client.post(f"{url}/dataset", json={"name": "Mine"}).status_code == 404
    assert client.post(ask, json=body).status_code == 404
