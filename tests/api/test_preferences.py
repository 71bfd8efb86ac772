"""Blind pairs over REST."""

import json

from qlora_studio.api.security import current_user
from tests.services.test_ratings import add_takes


def test_asked_answered_and_taken_back(client, user) -> None:
    takes = add_takes(user, 3)
    told = client.get("/preferences/next").json()
    pair = told["pair"]
    assert (pair["prompt"], told["n_answered"]) == ("rain", 0)
    assert "mod_a" not in json.dumps(told), "nothing says what made them"
    after = client.get("/preferences/next", params={"without": [pair["id"]]}).json()["pair"]
    assert after["id"] != pair["id"]
    form = {"first_take_id": pair["first"]["id"], "second_take_id": pair["second"]["id"]}
    given = client.post("/preferences", json=form | {"verdict": "right"})
    assert given.status_code == 201, given.text
    assert given.json() | form == given.json()
    assert client.post("/preferences", json=form | {"verdict": "tie"}).json()["id"] == given.json()["id"]
    better = {"chosen_id": takes[0].id, "rejected_id": takes[1].id}
    assert client.post("/preferences", json=better).status_code == 201
    listed = client.get("/preferences", params={"page_size": 1}).json()
    assert len(listed["items"]) == 1
    back = client.delete("/preferences/last").json()
    assert {back["pair"]["first"]["id"], back["pair"]["second"]["id"]} == set(better.values())
    while client.delete("/preferences/last").status_code == 200:
        pass
    assert client.get("/preferences").json()["total"] == 0


def test_what_is_refused(api, client, user, stranger) -> None:
    one, other = add_takes(user)
    form = {"first_take_id": one.id, "second_take_id": other.id, "verdict": "left"}
    for wrong in ({"verdict": "best"}, {"second_take_id": one.id}, {"chosen_id": one.id}, {"stars": 1}):
        assert client.post("/preferences", json=form | wrong).status_code == 422, wrong
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.post("/preferences", json=form).status_code == 404
    assert client.get("/preferences/next").json() == {"pair": None, "n_answered": 0}
    assert client.delete("/preferences/last").status_code == 404
