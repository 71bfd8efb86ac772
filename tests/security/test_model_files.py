"""M1 to M5: models that would run code, lie or climb, registered with a running server.

Every pickle holds a canary: a call that makes a file as soon as anybody opens it.
"""

import io
import json
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.modelfiles import build
from tests.security.conftest import Lab

pytestmark = pytest.mark.slow
MB = 1 << 20


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.fixture(scope="module")
def ada(lab: Lab) -> httpx.Client:
    return lab.join("ada-models")


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def register(api: httpx.Client, path: Path | str, name: str = "m") -> httpx.Response:
    return api.post("/models", json={"name": name, "source": {"kind": "path", "path": str(path)}})


def upload(api: httpx.Client, folder: Path) -> dict[str, Any]:
    """Send a folder file by file, ask for the check, and return what became of it."""
    model = api.post("/models", json={"source": {"kind": "upload"}}).raise_for_status().json()["id"]
    for path in folder.iterdir():
        api.put(f"/models/{model}/files/{path.name}", content=path.read_bytes()).raise_for_status()
    api.post(f"/models/{model}/check").raise_for_status()
    deadline = time.monotonic() + 60
    while (found := api.get(f"/models/{model}").json())["status"] == "checking":
        assert time.monotonic() < deadline, "still checking"
        time.sleep(0.05)
    return found


def _zipped_pickle(raw: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", raw)
    return buffer.getvalue()


def _npz(raw: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        head = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + raw)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[bytes], bytes]] = {
    "pytorch_model.bin": bytes,
    "model.pt": _zipped_pickle,
    "last.ckpt": _zipped_pickle,
    "weights.pkl": bytes,
    "weights.npz": _npz,
    "model.keras": _zipped_pickle,
}


@pytest.mark.attack("M1", "weights as .bin, .pt, .ckpt, .pkl, .npz, .keras", "422 by name, canary absent")
@pytest.mark.parametrize("name", FORMATS)
def test_weights_that_run_code_are_refused(lab: Lab, ada: httpx.Client, canary: Path, name: str) -> None:
    folder = build.whisper_folder(lab.models / f"m1-{name}")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(FORMATS[name](pickle.dumps(Canary(canary))))
    answer = register(ada, folder)
    assert answer.status_code == 422
    assert "can run code" in answer.text
    model = ada.post("/models", json={"source": {"kind": "upload"}}).json()["id"]
    assert ada.put(f"/models/{model}/files/{name}", content=b"x").status_code == 422
    assert not canary.exists()


@pytest.mark.attack("M1", "the same, renamed to model.safetensors", "refused by content, canary absent")
@pytest.mark.parametrize("name", FORMATS)
def test_a_new_name_makes_no_safetensors(lab: Lab, ada: httpx.Client, canary: Path, name: str) -> None:
    folder = build.whisper_folder(lab.models / f"m1-renamed-{name}")
    content = FORMATS[name](pickle.dumps(Canary(canary)))
    (folder / "model.safetensors").write_bytes(content)
    assert register(ada, folder).status_code == 422
    found = upload(ada, folder)
    assert (found["status"], "safetensors" in found["error"]) == ("error", True)
    assert not canary.exists()


CODE = "import pathlib; pathlib.Path({!r}).touch()"
REFUSED: dict[str, dict[str, Any]] = {
    "auto_map": {"auto_map": {"AutoModel": "evil.Model"}},
    "auto_map of another repository": {"auto_map": {"AutoConfig": "mallory/repo--evil.Config"}},
    "auto_map, nested": {"nested": {"deep": [{"auto_map": {"AutoModel": "evil.Model"}}]}},
    "custom_pipelines": {"custom_pipelines": {"x": {"impl": "evil.P"}}},
    "code as an activation": {"activation_function": "__import__('os').system('id')"},
}


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=what, marks=pytest.mark.attack("M2", what, "422, canary absent"))
        for what, config in REFUSED.items()
    ],
)
def test_a_config_that_needs_code_is_refused(
    lab: Lab, ada: httpx.Client, canary: Path, config: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    folder = build.whisper_folder(lab.models / request.node.callspec.id, **config)
    (folder / "evil.py").write_text(CODE.format(str(canary)))
    assert register(ada, folder).status_code == 422
    assert not canary.exists()


@pytest.mark.attack("M2", "trust flags, attention from a repository, a chat template", "dropped and shown")
def test_tricks_of_a_config_are_dropped_and_shown(lab: Lab, ada: httpx.Client, canary: Path) -> None:
    folder = build.whisper_folder(
        lab.models / "tricks",
        trust_remote_code=True,
        _attn_implementation="mallory/kernels",
        code_revision="evil",
        name_or_path="mallory/evil",
    )
    (folder / "evil.py").write_text(CODE.format(str(canary)))
    tokenizer = {
        "tokenizer_class": "WhisperTokenizer",
        "chat_template": "{{ ''.__class__.__mro__ }}",
        "vocab_file": "/etc/passwd",
    }
    build.write_json(folder / "tokenizer_config.json", tokenizer)
    found = register(ada, folder).raise_for_status().json()
    dropped = " ".join(found["details"]["dropped"])
    kept = "".join(p.read_text() for p in (lab.server.data_path / "models" / found["id"]).glob("*.json"))
    for key in ("trust_remote_code", "_attn_implementation", "code_revision", "chat_template", "vocab_file"):
        assert key in dropped
        assert f'"{key}"' not in kept
    assert not list((lab.server.data_path / "models").rglob("*.py"))
    assert not canary.exists()


@pytest.fixture(scope="module")
def starter(ada: httpx.Client) -> str:
    return ada.post("/models", json={"source": {"kind": "starter"}}).raise_for_status().json()["id"]


@pytest.mark.parametrize(
    ("config", "file"),
    [
        pytest.param(config, file, id=what, marks=pytest.mark.attack("M2", what, "422, canary absent"))
        for what, config, file in [
            ("an adapter with custom modules", {"custom_modules": {"Linear": "evil.Linear"}}, None),
            ("an adapter with auto_map", {"auto_map": {"AutoModel": "evil.Model"}}, None),
            ("an adapter of another kind", {"peft_type": "evil.Tuner"}, None),
            ("an adapter whose weights are pickled", {}, "adapter_model.bin"),
            ("an adapter whose pickle is renamed", {}, "adapter_model.safetensors"),
        ]
    ],
)
def test_an_adapter_that_needs_code_is_refused(
    ada: httpx.Client, starter: str, canary: Path, config: dict[str, Any], file: str | None, tmp_path: Path
) -> None:
    plain = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["linear_q"]}
    build.write_safetensors(
        tmp_path / "a", {"base_model.model.x.lora_A.weight": np.zeros((4, 4), np.float32)}
    )
    entries = {
        "adapter_config.json": json.dumps(plain | config).encode(),
        "evil.py": CODE.format(str(canary)),
    }
    entries["adapter_model.safetensors"] = (tmp_path / "a").read_bytes()
    if file:
        del entries["adapter_model.safetensors"]
        entries[file] = pickle.dumps(Canary(canary))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    answer = ada.post("/adapters", params={"model_id": starter}, content=buffer.getvalue())
    assert answer.status_code == 422
    assert ada.get("/adapters").json()["total"] == 0
    assert not canary.exists()


def _giant(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{" + b" " * 1000)


def _long(path: Path) -> None:
    with path.open("wb") as file:  # a header that is as long as it says: 1 GB of nothing, on no disk
        file.write(struct.pack("<Q", 1 << 30) + b"{")
        file.truncate(8 + (1 << 30))


def _header(entries: str) -> Callable[[Path], None]:
    return lambda path: build.write_raw(path, entries.encode(), bytes(8))


def _nan(path: Path) -> None:
    tensors = build.whisper_tensors()
    tensors["proj_out.weight"][3, 4] = np.nan
    build.write_safetensors(path, tensors)


_F32 = '{"dtype":"F32","shape":[1],"data_offsets":'


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(spoil, reason, id=what, marks=pytest.mark.attack("M3", what, "422 fast, memory flat"))
        for what, spoil, reason in [
            ("a header of an exbibyte", _giant, "header would end after the file"),
            ("a header of a gibibyte", _long, "is the most accepted"),
            ("overlapping tensors", _header(f'{{"a":{_F32}[0,4]}},"b":{_F32}[2,6]}}}}'), "overlap"),
            ("a tensor named twice", _header(f'{{"a":{_F32}[0,4]}},"a":{_F32}[4,8]}}}}'), "twice"),
            ("offsets beyond the end", _header(f'{{"a":{_F32}[0,4]}},"b":{_F32}[4,800]}}}}'), "no sense"),
            ("a header nested 100,000 deep", _header("[" * 100_000), "can't be read"),
            ("weights that are not numbers", _nan, "not numbers"),
        ]
    ],
)
def test_lying_weights_are_refused_fast(
    lab: Lab, ada: httpx.Client, spoil: Callable[[Path], None], reason: str, request: pytest.FixtureRequest
) -> None:
    folder = build.whisper_folder(lab.models / request.node.callspec.id.replace(" ", "-"))
    spoil(folder / "model.safetensors")
    before, begun = lab.peak_memory(), time.monotonic()
    answer = register(ada, folder)
    assert time.monotonic() - begun < 10
    assert answer.status_code == 422
    assert reason in answer.text
    assert lab.peak_memory() - before < 64 * MB


@pytest.mark.attack("M4", "paths outside the roots, ~, .., a link that leads out", "422, same text for all")
def test_a_path_outside_the_roots_is_refused(lab: Lab, ada: httpx.Client, tmp_path: Path) -> None:
    outside = build.whisper_folder(tmp_path / "outside")
    (lab.models / "out").symlink_to(outside)
    told = {}
    for path in (
        str(outside), "/etc", "/nowhere/at/all", f"{lab.models}/../../etc", f"{lab.models}-other",
        f"{lab.models}/out", str(lab.server.data_path),
    ):  # fmt: skip
        answer = register(ada, path)
        assert answer.status_code == 422, path
        told[path] = answer.json()["errors"][0]["message"]
    assert len(set(told.values())) == 1, told
    for path in ("~", "~/models", "~root/x", "models", "file:///etc", f"{lab.models}/m\0/x"):
        assert register(ada, path).status_code == 422, path


@pytest.mark.attack("M4", "a folder swapped for a link after the check", "409, never trained with")
def test_a_link_swapped_after_the_check_is_not_followed(lab: Lab, ada: httpx.Client, tmp_path: Path) -> None:
    folder = build.whisper_folder(lab.models / "swapped")
    found = register(ada, folder).raise_for_status().json()
    outside = build.whisper_folder(tmp_path / "outside", vocab_size=60)
    tensors = build.whisper_tensors()
    tensors["proj_out.weight"] += 1
    build.write_safetensors(outside / "model.safetensors", tensors)
    folder.rename(lab.models / "swapped-before")
    folder.symlink_to(outside)
    answer = ada.post("/adapters", params={"model_id": found["id"]}, content=b"x")
    checked_again = ada.post(f"/models/{found['id']}/check")
    assert (answer.status_code, checked_again.status_code) == (409, 409)


@pytest.mark.attack(
    "M5", "names as `; touch x`, `$(x)`, a newline, --flag", "data: kept as written, nothing ran"
)
def test_names_are_data(lab: Lab, ada: httpx.Client, canary: Path) -> None:
    folder = build.whisper_folder(lab.models / "plain")
    names = [f"; touch {canary}", f"$(touch {canary})", f"`touch {canary}`", f"| touch {canary}", "--help"]
    for name in names:
        assert register(ada, folder, name).raise_for_status().json()["name"] == name
    for repo_id in [*names, "a/b\n--flag", "--flag/x", "a/b;id", "-a/b"]:
        answer = ada.post("/models", json={"source": {"kind": "hub", "repo_id": repo_id}})
        assert answer.status_code == 422, repo_id
    for revision in ("--flag", "$(id)", "main\n--x", "; id", "../x"):
        source = {"kind": "hub", "repo_id": "lab/model", "revision": revision}
        assert ada.post("/models", json={"source": source}).status_code == 422, revision
    assert not canary.exists()
