"""Ratings over REST."""

from qlora_studio.api.security import current_user
from qlora_studio.ingest import launching, pipeline
from tests.services.test_feedback_datasets import heard
from tests.services.test_ratings import add_takes, rate


def test_rated_changed_and_taken_back(client, user) -> None:
    take, _ = add_takes(user)
    url = f"/takes/{take.id}/rating"
    form = {"criterion": "overall", "stars": 4, "tags": ["warm"], "note": "<script>=cmd()"}
    given = client.put(url, json=form)
    assert given.status_code == 200, given.text
    assert given.json() | form == given.json()
    assert given.json()["rater_id"] == user.id
    assert client.put(url, json=form | {"stars": 5}).json()["stars"] == 5
    assert [r["stars"] for r in client.get(f"/takes/{take.id}/ratings").json()["items"]] == [5]
    told = client.get("/feedback/stats", params={"model_id": "mod_a"}).json()
    assert (told["n_takes"], told["n_rated"], told["n_ratings"], told["mean_stars"]) == (2, 1, 1, 5.0)
    ready = client.get("/feedback/readiness", params={"n_needed": 1}).json()
    assert (ready["is_ready"], ready["n_good"], ready["min_stars"]) == (True, 1, 4.0)
    assert client.get("/feedback/readiness").json()["n_missing"] == 49
    rule = "/feedback/readiness-rule"
    assert client.put(rule, json={"n_needed": 1, "min_stars": 5}).json()["is_own"]
    assert client.get("/feedback/readiness").json()["is_ready"]
    assert client.put(rule, json={"n_needed": 0}).status_code == 422
    assert client.delete(rule).status_code == 204
    assert client.get(rule).json()["n_needed"] == 50
    days = client.get("/feedback/days", params={"days": 7}).json()
    assert [day["n_ratings"] for day in days["items"]] == [0] * 6 + [1]
    assert [rater["id"] for rater in days["raters"]] == [user.id]
    assert client.delete(url).status_code == 204
    assert client.delete(url).status_code == 404
    assert client.get(f"/takes/{take.id}").json()["mean_stars"] is None


def test_what_is_refused(api, client, user, stranger) -> None:
    take, _ = add_takes(user)
    url = f"/takes/{take.id}/rating"
    for wrong in ({"stars": 0}, {"stars": 6}, {"stars": "5"}, {"criterion": " "}, {"tags": ["a" * 33]}):
        refused = client.put(url, json={"stars": 3} | wrong)
        assert refused.status_code == 422, wrong
        assert refused.json()["errors"][0]["field"].startswith(next(iter(wrong)))
    assert client.get("/feedback/readiness", params={"min_stars": 9}).status_code == 422
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.put(url, json={"stars": 1}).status_code == 404
    assert client.get(f"/takes/{take.id}/ratings").status_code == 404
    assert client.delete(url).status_code == 404
    assert client.get("/feedback/stats").json()["n_takes"] == 0


def test_as_many_rows_as_were_counted_before(api, client, user, stranger, monkeypatch, decoding_here) -> None:
    monkeypatch.setattr(launching, "launch", pipeline.run)
    for take, stars in zip(heard(user, 3), (5, 4, 1), strict=True):
        rate(user, take, stars)
    source = {"kind": "feedback", "filter": {"min_stars": 4}}
    counted = client.post("/datasets/preview", json={"source": source})
    assert counted.status_code == 200, counted.text
    assert counted.json() == {"n_rows": 2, "n_takes": 2, "n_prompts": 1, "model_ids": ["mod_a"]}
    made = client.post("/datasets", json={"name": "Good", "source": source})
    assert made.status_code == 201, made.text
    url = f"/datasets/{made.json()['id']}"
    found = client.get(url).json()
    assert (found["status"], found["n_clips"], found["task"]) == ("ready", 2, "text-to-audio")
    assert client.get(f"{url}/feedback-update").json()["is_up_to_date"]
    rate(user, heard(user, 1)[0], 5)
    told = client.get(f"{url}/feedback-update").json()
    assert (told["n_added"], told["n_removed"], told["n_rows"]) == (1, 0, 3)
    assert client.post(f"{url}/feedback-update").status_code == 202
    found = client.get(url).json()
    assert (found["status"], found["n_clips"], found["version"]) == ("ready", 3, 2)
    for wrong in ({"kind": "upload"}, source | {"filter": {"min_gap": 1}}, source | {"filter": {"x": 1}}):
        assert client.post("/datasets/preview", json={"source": wrong}).status_code == 422
    none = client.post("/datasets", json={"name": "x", "source": source | {"filter": {"tags": ["cold"]}}})
    assert none.json()["errors"][0]["field"] == "source.filter"
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.post("/datasets/preview", json={"source": source}).json()["n_rows"] == 0
    assert client.get(f"{url}/feedback-update").status_code == 404
    assert client.post(f"{url}/feedback-update").status_code == 404
