"""Every call of the client against the OpenAPI description: what it sends, and what it makes of the answer.

The server here is the description itself: it takes what is named in it and answers an example of what it
promises. A method that sends a field too many, or hopes for one that is not promised, fails.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from qlora_studio.api import PREFIX, build_api
from qlora_studio.client import Studio
from qlora_studio.client_answers import Answer, BlindPair
from qlora_studio.contracts.enums import Preference, Sharing
from qlora_studio.contracts.spec import TrainSpec
from tests.api.described import example, operations, taken
from tests.api.test_contract import ROWS

# Fields that only one method's answers have.
ONLY_OF = {
    "Token.token": "create_token",
    "Adapter.replaces": "update_adapter",
    "Sweep.rows": "get_sweep",
    "Sweep.metric": "get_sweep",
    "Sweep.best_job_id": "get_sweep",
}
WAITING = "wait_for_"  # asks what `get_…` asks, again and again
INTERNAL = {"close"}
GIVEN: dict[str, Any] = {
    "source": {"kind": "example"},
    "spec": TrainSpec(name="x", dataset_id="ds_x", model_id="mod_x"),
    "axes": {"qlora.rank": [1]},
    "ratios": {"train": 1.0},
    "contestants": [{"model_id": "mod_x"}],
    "prompts": ["x"],
    "thing_id": "ds_x",
    "sharing": Sharing.READ,
    "verdict": Preference.LEFT,
    "side": "left",
    "kind": "hub",
    "stars": 3,
    "number": 1,
    "position": 1,
    "is_left_out": True,
}
# Fields that a method passes on as they are: some of each, so that the names in its description are right.
OPTIONS: dict[str, dict[str, Any]] = {
    "add_credential": {"token": "x"},
    "create_listening_test": {"duration_s": 1.0, "n_seeds": 1, "catch_every": 0},
    "start_generation": {"n_takes": 1, "duration_s": 1.0, "seed": 0},
    "start_dictation": {"clips": "all"},
    "push_adapter": {"is_private": True, "weights": "adapter"},
    "transcribe": {"adapter_id": "active", "strength": 1.0},
    "update_adapter": {"name": "x", "stage": "archived", "tags": [], "notes": "", "archived": True},
    "update_dataset": {"name": "x", "description": "", "task": "speech-to-text", "mapping": {}},
    "update_model": {"name": "x", "description": ""},
    "update_user": {"role": "viewer"},
    "change_prompt_template": {"name": "x", "prompt": "x"},
    "keep_prompt": {"n_takes": 1},
    "list_clips": {"split": "train", "label": "x", "status": "ok", "query": "", "check": "silent"},
    "list_audit": {"query": "", "who": "", "action": "", "object": ""},
    "list_adapters": {"archived": True, "stage": "candidate", "tag": "x"},
    "get_readiness": {"model_id": "x", "min_stars": 4, "n_needed": 1, "criterion": "overall"},
    "get_metrics": {"from_step": 1, "to_step": 2, "max_points": 100},
    "get_log": {"tail": 1, "after": 0, "cursor": "", "level": "error", "search": "x", "attempt": 1},
}
METHODS = sorted(
    name
    for name, _ in inspect.getmembers(Studio, inspect.isfunction)
    if not name.startswith(("_", WAITING)) and name not in INTERNAL
)


class DescribedServer:
    """Takes requests as the description says, remembers which, and answers examples."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.described = described
        self.asked: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self._ways = [
            (method, path, re.compile(re.sub(r"\{[a-z]+\}", "[^/]+", path)), operation)
            for (method, path), operation in operations(described).items()
        ]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        local = request.url.path.removeprefix(PREFIX)
        ways = [way for way in self._ways if way[0] == request.method and way[2].fullmatch(local)]
        # one without a parameter comes before one with: /generations/shared is no generation
        found = min(ways, key=lambda way: way[1].count("{"), default=None)
        if found is None:
            self.wrong.append(f"there is no {request.method} {local}")
            return httpx.Response(404, json={})
        method, path, _, operation = found
        self.asked.append((method, path))
        self._check(request, path, operation)
        return self._answer(operation)

    def _check(self, request: httpx.Request, path: str, operation: dict[str, Any]) -> None:
        known = taken(operation, self.described)
        sent = set(request.url.params)
        kind = request.headers.get("content-type", "")
        content = operation.get("requestBody", {}).get("content", {})
        if kind.startswith("multipart/form-data"):
            sent |= set(re.findall(r'form-data; name="(\w+)"', request.read().decode("latin-1")))
        elif kind == "application/json" and not _is_open(content["application/json"]["schema"]):
            sent |= set(json.loads(request.read()))
        self.wrong += [f"{path} takes no {name}" for name in sent - known]
        if kind and kind.partition(";")[0] not in content:
            self.wrong.append(f"{path} takes no {kind}")

    def _answer(self, operation: dict[str, Any]) -> httpx.Response:
        status, answer = next((s, a) for s, a in operation["responses"].items() if s.startswith("2"))
        content = answer.get("content", {})
        if "application/json" not in content:
            return httpx.Response(int(status), content=b"x" if content else b"")
        return httpx.Response(
            int(status), json=example(content["application/json"]["schema"], self.described)
        )


def _is_open(schema: dict[str, Any]) -> bool:
    """Whether any key may be in a body: a job's changes, a report's limits."""
    forms = [schema, *schema.get("anyOf", ())]
    return any("additionalProperties" in form and "properties" not in form for form in forms)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return build_api().openapi()


@pytest.fixture
def server(described: dict[str, Any]) -> DescribedServer:
    return DescribedServer(described)


@pytest.fixture
def studio(server: DescribedServer) -> Iterator[Studio]:
    with Studio(transport=httpx.MockTransport(server)) as opened:
        yield opened


def call(studio: Studio, name: str, folder: Path, server: DescribedServer) -> Any:
    """Call a method with something for each argument; what it gives back, lists read to their end."""
    method: Callable[..., Any] = getattr(studio, name)
    (folder / "config.json").write_text("{}")
    arguments, named = [], dict(OPTIONS.get(name, {}))
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            arguments += ["x", "y"]
        elif parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            arguments.append(_value(parameter.name, folder, server))
        elif parameter.name == "idempotency_key":
            named[parameter.name] = "once"
    found = method(*arguments, **named)
    return list(found) if inspect.isgenerator(found) else found


def _value(name: str, folder: Path, server: DescribedServer) -> Any:
    if name == "pair":
        schema = server.described["components"]["schemas"]["BlindPair"]
        return BlindPair.model_validate(example(schema, server.described))
    files = {"path": folder / "config.json", "folder": folder, "to": folder / "to"}
    return files.get(name, GIVEN.get(name, "x"))


def unpromised(found: Any) -> Iterator[str]:
    """Fields that an answer of the client has and the server's answer had not."""
    if isinstance(found, Answer):
        kind = type(found)
        yield from (f"{kind.__name__}.{name}" for name in set(kind.model_fields) - found.model_fields_set)
        for name in kind.model_fields:
            yield from unpromised(getattr(found, name))
    elif isinstance(found, list | tuple):
        for one in found:
            yield from unpromised(one)


@pytest.mark.parametrize("name", METHODS)
def test_a_call_is_as_described(name: str, studio: Studio, server: DescribedServer, tmp_path: Path) -> None:
    found = call(studio, name, tmp_path, server)
    assert server.asked, server.wrong
    assert server.wrong == []
    missing = set(unpromised(found))
    assert {field for field in missing if ONLY_OF.get(field, name) == name} == set()


def test_every_row_of_the_contract_has_a_call(described: dict[str, Any], tmp_path: Path) -> None:
    server = DescribedServer(described)
    with Studio(transport=httpx.MockTransport(server)) as studio:
        for name in METHODS:
            call(studio, name, tmp_path, server)
    made_by_get = {("POST", "/datasets/{id}/export")}  # the same as its GET, which a file is written from
    assert {(row.method, row.path) for row in ROWS} - set(server.asked) <= made_by_get
