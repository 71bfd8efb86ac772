"""Listening tests over REST: blind for raters, read by the owner, and true to raters of known strength."""

import csv
import io
import json

import numpy as np
import pytest
import soundfile
from sqlmodel import select

from qlora_studio.api.security import current_user
from qlora_studio.contracts.enums import Role
from qlora_studio.db import engine as db
from qlora_studio.db.models import ListeningQuestion, User
from tests.conftest import make_user
from tests.services.listening_desk import Guesser, Listener, look_up, open_test


def test_a_rater_learns_nothing_but_the_sound(api, client, user, stranger) -> None:
    test = open_test(user, files=True, n_seeds=2)
    api.dependency_overrides[current_user] = lambda: stranger
    seen = client.get(f"/listening-tests/{test.id}").json()
    asked = client.post(f"/listening-tests/{test.id}/questions").json()
    told = json.dumps([seen, asked])
    for hidden in ("adapter", "ada_", "mod_", "gen_", "take_", "Bells"):
        assert hidden not in told, hidden
    assert set(asked["questions"][0]) == {"id", "prompt"}
    question = asked["questions"][0]["id"]
    sounds = {}
    for side in ("left", "right"):
        got = client.get(f"/listening-tests/questions/{question}/{side}")
        assert got.status_code == 200
        assert {name.lower() for name in got.headers} <= {
            "content-type", "content-length", "content-disposition", "cache-control",
            "x-content-type-options", "content-security-policy",
        }  # fmt: skip
        assert got.headers["content-disposition"] == 'attachment; filename="sound.wav"'
        assert got.headers["cache-control"] == "no-store"
        sounds[side] = got.content
    assert len(sounds["left"]) == len(sounds["right"])
    assert client.get(f"/listening-tests/questions/{question}/left").content == sounds["left"]
    again = _same_take(client, test.id, question)
    assert client.get(f"/listening-tests/questions/{again}").content != sounds["left"], (
        "who compares files can't tell that it is the same take"
    )
    samples, rate = soundfile.read(io.BytesIO(sounds["left"]))
    assert (rate, samples.shape) == (16_000, (1600,))
    for path in ("results", "export"):
        assert client.get(f"/listening-tests/{test.id}/{path}").status_code == 404


def _same_take(client, test_id: str, question_id: str) -> str:
    """Question and side of another pair with the sound that is on the left of this one."""
    take_id = look_up(question_id).left_take_id
    while asked := client.post(f"/listening-tests/{test_id}/questions").json()["questions"]:
        found = look_up(asked[0]["id"])
        for side in ("left", "right"):
            is_it = getattr(found, f"{side}_take_id") == take_id and found.damaged != side
            if is_it and found.id != question_id:
                return f"{found.id}/{side}"
        client.post(f"/listening-tests/questions/{found.id}/answer", json={"verdict": "skip"})
    raise LookupError("It is in no other pair.")


def test_taken_closed_and_exported(client, user) -> None:
    test = open_test(user, n_contestants=2, n_prompts=3, catch_every=0)
    for verdict in ("left", "tie", "skip"):
        question = client.post(f"/listening-tests/{test.id}/questions").json()["questions"][0]
        url = f"/listening-tests/questions/{question['id']}/answer"
        assert client.post(url, json={"verdict": verdict}).status_code == 204
        assert client.post(url, json={"verdict": verdict}).status_code == 204
        assert client.post(url, json={"verdict": "right"}).status_code == 409
        assert client.post(url, json={"verdict": "best"}).status_code == 422
    assert client.post(f"/listening-tests/{test.id}/close").json()["status"] == "closed"
    assert client.post(f"/listening-tests/{test.id}/close").status_code == 409
    assert client.post(f"/listening-tests/{test.id}/retry").status_code == 409
    told = client.get(f"/listening-tests/{test.id}/results").json()
    assert (told["n_votes"], told["tie_share"]) == (2, 0.5)
    whole = client.get(f"/listening-tests/{test.id}/export").json()
    assert [row["verdict"] for row in whole["answers"]] == ["left", "tie", "skip"]
    assert whole["test"]["contestants"][1]["label"] == "adapter 1"
    table = client.get(f"/listening-tests/{test.id}/export", params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["verdict"] for row in rows] == ["left", "tie", "skip"]
    assert client.get("/listening-tests").json()["total"] == 1
    rater = told["raters"][0]["rater_id"]
    url = f"/listening-tests/{test.id}/raters/{rater}"
    assert client.put(url, json={"is_left_out": True}).json()["n_votes"] == 0
    assert client.put(url, json={"is_left_out": None}).json()["n_votes"] == 2
    assert client.delete(f"/listening-tests/{test.id}").status_code == 204
    assert client.get(f"/listening-tests/{test.id}").status_code == 404


def _with_id(person: User, number: int) -> User:
    """All that is drawn comes from the ids of test and rater."""
    person.id = f"usr_{number:012}"
    return person


@pytest.mark.slow
def test_the_ranking_finds_the_strengths_of_simulated_raters(api, client, user, session) -> None:
    truth = [0.0, 1.6, -0.9]
    test = open_test(user, n_contestants=3, n_prompts=8, n_seeds=2, id="test_000000000001")
    listeners = {f"rater{i}": Listener(i, truth) for i in range(6)}
    listeners["guesser"] = Guesser(99, truth)
    people = {name: _with_id(make_user(session, name, Role.RATER), n) for n, name in enumerate(listeners)}
    session.commit()
    for name, listener in listeners.items():
        api.dependency_overrides[current_user] = lambda name=name: people[name]
        while asked := client.post(f"/listening-tests/{test.id}/questions").json()["questions"]:
            verdict = listener.answer(look_up(asked[0]["id"])).value
            client.post(f"/listening-tests/questions/{asked[0]['id']}/answer", json={"verdict": verdict})
    api.dependency_overrides[current_user] = lambda: user
    told = client.get(f"/listening-tests/{test.id}/results").json()
    assert [standing["position"] for standing in told["standings"]] == [1, 0, 2]
    assert [(s["first_place"], s["last_place"]) for s in told["standings"]] == [(1, 1), (2, 2), (3, 3)]
    for pair in told["comparisons"]:
        share = 1 / (1 + np.exp(truth[pair["other"]] - truth[pair["one"]]))
        assert pair["low"] <= share <= pair["high"], pair
        assert (pair["is_told_apart"], pair["votes_needed"]) == (True, 0)
    assert {rater["name"] for rater in told["raters"] if rater["is_left_out"]} == {"guesser"}
    assert (told["n_votes"], told["n_left_out"]) == (6 * 48, 48)
    assert 0.1 < told["agreement"]["alpha"] < 0.8
    with db.read() as reading:
        kinds = [row.kind.value for row in reading.exec(select(ListeningQuestion))]
    assert 0.07 < kinds.count("catch") / len(kinds) < 0.13
