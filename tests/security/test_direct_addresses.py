"""The direct addresses of what is another user's: there is nothing there, whatever the method or the range.

The addresses come from the API's own description: a new route that takes an id is asked too, or the test says
that it does not know whose id to give it.
"""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import soundfile
from sqlmodel import SQLModel

from qlora_studio.contracts.enums import Audience, ListeningStatus, QuestionKind
from qlora_studio.core.ids import new_id
from qlora_studio.db.models import (
    Adapter,
    Dictation,
    HubPush,
    JobGroup,
    JobSample,
    ListeningContestant,
    ListeningQuestion,
    ListeningTest,
    PromptTemplate,
    Take,
)
from scripts.running import Server, sign_up, start_server
from tests.browser.desk import Desk
from tests.browser.takes import RATE, shelve, stored, tone
from tests.ingest import sounds
from tests.security.uploading import create, settled

pytestmark = pytest.mark.slow
RANGE = {"Range": "bytes=0-9"}
# Everything a person might hear or take away: here the owner must get it, or the test shows nothing.
WORTH_STEALING = (
    "/clips/{clip_id}/audio", "/clips/{clip_id}/spectrogram", "/datasets/{dataset_id}/export",
    "/adapters/{adapter_id}/download", "/jobs/{job_id}/logs/download", "/jobs/{job_id}/results",
    "/jobs/{job_id}/tensorboard", "/jobs/{job_id}/events", "/jobs/{job_id}/metrics",
    "/jobs/{job_id}/samples/{step}/{clip_id}/sound", "/takes/{take_id}/audio",
    "/listening-tests/questions/{question_id}/{side}", "/listening-tests/{test_id}/export",
    "/trial-sounds/{sound_id}", "/dictations/{dictation_id}/clips",
)  # fmt: skip
FOR_ADMINS = ("/users/{user_id}",)  # refused by role, whoever's id it is
MORE = {
    "/datasets/{dataset_id}/versions/compare": {"earlier": 1, "later": 1},
    "/datasets/{dataset_id}/export": {"format": "csv"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    fast = {"QLORA_STUDIO_WORKER": "toy", "QLORA_STUDIO_TOY_STEP_S": "0.001"}
    started = start_server(tmp_path_factory.mktemp("server"), **fast)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def desk(server: Server) -> Iterator[Desk]:
    """The owner's."""
    made = Desk(server, sign_up(server, "owner"))
    yield made
    made.api.close()


@pytest.fixture(scope="module")
def stranger(server: Server, desk: Desk) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {sign_up(server, 'stranger')}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def places(desk: Desk) -> dict[str, Any]:
    """For each name in braces of an address, what the owner has there."""
    dataset_id = create(desk.api)
    desk.api.put(f"/datasets/{dataset_id}/files/a.wav", content=sounds.wav(1.0)).raise_for_status()
    desk.api.post(f"/datasets/{dataset_id}/ingest").raise_for_status()
    settled(desk.api, dataset_id)
    clip_id = desk.api.get(f"/datasets/{dataset_id}/clips").json()["items"][0]["id"]
    job_id = desk.launch("mine", 12)
    until(lambda: desk.api.get(f"/jobs/{job_id}").json()["status"] == "succeeded")
    found = desk.api.get("/adapters").json()["items"]
    adapter = next(item for item in found if item["job_id"] == job_id)
    take_id = shelve(desk.server, "owner", ["a bell"])[0]
    stored_rows = add_rows(desk.server, job_id=job_id, take_id=take_id, adapter=adapter, clip_id=clip_id)
    places = {
        "dataset_id": dataset_id, "clip_id": clip_id, "job_id": job_id, "adapter_id": adapter["id"],
        "model_id": adapter["base_model_id"], "take_id": take_id, "step": 4, "side": "left", "number": 1,
        "user_id": desk.api.get("/me").json()["id"], "rehearsal_id": new_id("reh"),
    }  # fmt: skip
    return places | stored_rows | add_dictation(desk.server, dataset_id, adapter["base_model_id"])


def add_rows(
    server: Server, *, job_id: str, take_id: str, adapter: dict[str, Any], clip_id: str
) -> dict[str, str]:
    """What would take a real model or another server to make."""
    sound_id = new_id("snd")
    with stored(server, "owner") as (session, owner):
        take = session.get_one(Take, take_id)
        test = ListeningTest(
            owner_id=owner.id, name="Blind", audience=Audience.OWNER, status=ListeningStatus.OPEN, seed=0,
            n_seeds=1, prompts=["a bell"], duration_s=1, guidance=3, temperature=1, catch_every=0,
            sample_rate=RATE,
        )  # fmt: skip
        sweep = JobGroup(owner_id=owner.id, name="Sweep")
        template = PromptTemplate(
            owner_id=owner.id, name="Mine", name_key="mine", prompt="a bell", duration_s=1, n_takes=1,
            guidance=3, temperature=1,
        )  # fmt: skip
        push = HubPush(
            owner_id=owner.id, adapter_id=session.get_one(Adapter, adapter["id"]).id, repo_id="a/b",
            status="failed",
        )  # fmt: skip
        sample = JobSample(job_id=job_id, step=4, clip_id=clip_id, details={"sound": "samples/4/0.flac"})
        session.add_all([test, sweep, template, push, sample])
        session.flush()
        question = ListeningQuestion(
            test_id=test.id, rater_id=owner.id, number=0, kind=QuestionKind.NEW, prompt=0, seed=0, left=0,
            right=1, left_take_id=take.id, right_take_id=take.id,
        )  # fmt: skip
        session.add(question)
        for position in (0, 1):
            contestant = ListeningContestant(
                test_id=test.id, position=position, model_id="mod_gone", model_name="Bells"
            )
            session.add(contestant)
        session.flush()
        sample_path = server.data_path / "runs" / job_id / "samples/4/0.flac"
        sound_path = server.data_path / "trials" / owner.id / f"{sound_id}.wav"
        for path in (sample_path, sound_path):
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(440), RATE)
        rows: dict[str, SQLModel] = {
            "test_id": test, "sweep_id": sweep, "template_id": template, "push_id": push,
            "question_id": question, "generation_id": take,
        }  # fmt: skip
        ids = {name: str(getattr(row, "id")) for name, row in rows.items()}  # noqa: B009
        return ids | {"generation_id": take.generation_id, "sound_id": sound_id}


def add_dictation(server: Server, dataset_id: str, model_id: str) -> dict[str, str]:
    with stored(server, "owner") as (session, owner):
        made = Dictation(
            owner_id=owner.id, dataset_id=dataset_id, model_id=model_id, model_name="m", n_clips=1
        )
        session.add(made)
        session.flush()
        return {"dictation_id": made.id}


def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def routes(desk: Desk) -> list[tuple[str, str]]:
    """Each address with braces that can be asked with a method, below `/api/v1`."""
    described = desk.api.get("/openapi.json").raise_for_status().json()["paths"]
    found = [(m.upper(), path.removeprefix("/api/v1")) for path, ops in described.items() for m in ops]
    assert len(found) > 100, "the API's description is not what this test takes it for"
    return [(method, path) for method, path in found if "{" in path]


def address(route: str, places: dict[str, Any]) -> str:
    for name in re.findall(r"{(\w+)}", route):
        assert name in places, f"a new address: whose {name} is to be asked for in {route}?"
    return route.format(**places)


@pytest.mark.attack(
    "H3", "direct addresses of another user's things: GET, HEAD, with Range", "404, the same as for no thing"
)
def test_a_strangers_direct_addresses_lead_nowhere(
    server: Server,
    desk: Desk,
    stranger: httpx.Client,
    routes: list[tuple[str, str]],
    places: dict[str, Any],
    saw: Callable[[str], None],
) -> None:
    readable = [path for method, path in routes if method == "GET"]
    assert set(WORTH_STEALING) <= set(readable)
    for route in readable:
        url, query = address(route, places), MORE.get(route, {})
        answers = [
            stranger.get(url, params=query),
            stranger.get(url, params=query, headers=RANGE),
            stranger.head(url, params=query),
        ]
        statuses = [answer.status_code for answer in answers]
        if route in FOR_ADMINS:
            assert statuses == [403, 403, 405], route
            continue
        assert statuses[:2] == [404, 404], route
        assert statuses[2] in {404, 405}, route  # 405 says that nobody may ask so
        assert all(answer.headers["content-type"] == "application/problem+json" for answer in answers), route
        assert httpx.get(f"{server.base}/api/v1{url}", params=query).status_code == 401, route
    for route in WORTH_STEALING:
        got = desk.api.get(address(route, places), params=MORE.get(route, {}))
        assert got.status_code == 200, f"the owner's own {route}: {got.text}"
        assert got.content, route
    assert desk.api.get(address("/clips/{clip_id}/audio", places), headers=RANGE).status_code == 206
    saw(f"{len(readable)} addresses, three ways each; the owner gets all {len(WORTH_STEALING)} files")


@pytest.mark.attack(
    "H3", "the same addresses with every method that changes or deletes", "refused, everything still there"
)
def test_a_stranger_changes_nothing_by_address(
    desk: Desk,
    stranger: httpx.Client,
    routes: list[tuple[str, str]],
    places: dict[str, Any],
    saw: Callable[[str], None],
) -> None:
    more = {
        "kind": "datasets", "thing_id": places["dataset_id"], "filename": "a.wav",
        "rater_id": places["user_id"], "exclusion_id": new_id("exc"),
        "credential_id": new_id("cred"), "channel_id": new_id("chn"),
        "session_id": new_id("ses"), "token_id": new_id("tok"),
    }  # fmt: skip
    kept = [address(route, places) for method, route in routes if method == "GET" and route.count("/") == 2]
    before = {url: desk.api.get(url).status_code for url in kept}
    changing = [(method, route) for method, route in routes if method != "GET"]
    for method, route in changing:
        answer = stranger.request(method, address(route, places | more), json={})
        assert answer.status_code in {403, 404, 422}, f"{method} {route}: {answer.status_code} {answer.text}"
    assert {url: desk.api.get(url).status_code for url in kept} == before
    saw(f"{len(changing)} methods and addresses")
