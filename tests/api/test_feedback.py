"""Ratings over REST."""

from qlora_studio.api.security import current_user
from tests.services.test_ratings import add_takes


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
