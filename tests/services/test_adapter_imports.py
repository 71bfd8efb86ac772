"""Adapters made elsewhere: plain LoRAs are taken in, everything else is refused with its reason."""

import errno
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sqlmodel import Session

from qlora_studio.contracts.enums import Role, Task
from qlora_studio.core.errors import Forbidden, InvalidInput, NotFound, StorageFull, TooLarge
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import Adapter, BaseAudioModel, User
from qlora_studio.engine import adapter_files
from qlora_studio.ingest import quota, staging
from qlora_studio.modelfiles import adapters as adapters_of_others
from qlora_studio.modelfiles.families import FAMILIES
from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.modelfiles.safetensors_header import TensorInfo
from qlora_studio.services import adapter_imports, adapters, models
from qlora_studio.services.adapter_imports import AdapterImport
from qlora_studio.storage import layout
from tests.conftest import make_user

LAYER = "wav2vec2_bert.encoder.layers.0.self_attn.linear_q"
RANK, WIDTH = 4, 256


@pytest.fixture
def model(session: Session, user: User) -> BaseAudioModel:
    made = models.add_starter(session, actor=user)
    session.commit()
    return made


@pytest.fixture
def width(model: BaseAudioModel) -> int:
    return next(kind["n_in"] for kind in model.details["layers"]["linear"] if kind["name"] == "linear_q")


@pytest.fixture
def folder(tmp_path: Path, width: int) -> Path:
    """A LoRA of one layer, as PEFT saves it."""
    made = tmp_path / "lora"
    made.mkdir()
    _save(made, {f"base_model.model.{LAYER}.lora_A.weight": (RANK, width),
                 f"base_model.model.{LAYER}.lora_B.weight": (width, RANK)})  # fmt: skip
    config = {
        "peft_type": "LORA", "r": RANK, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": ["linear_q"],
        "bias": "none", "task_type": "SEQ_2_SEQ_LM", "base_model_name_or_path": "somebody/their-model",
        "auto_mapping": None, "use_dora": False, "init_lora_weights": True, "peft_version": "0.17.0",
    }  # fmt: skip
    (made / "adapter_config.json").write_text(json.dumps(config))
    return made


def _save(folder: Path, shapes: dict[str, tuple[int, ...]], **fill: float) -> None:
    value = fill.get("value", 0.01)
    tensors = {name: np.full(shape, value, dtype=np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "adapter_model.safetensors")


def _set(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _take_in(user: User, model: BaseAudioModel, source: Path, **values: str) -> Adapter:
    form = AdapterImport(model_id=model.id, **values)
    return adapter_imports.take_in(actor=user, source=source, form=form).adapter


def _zip(folder: Path, target: Path, *, top: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, top + path.name)
    return target


@pytest.mark.parametrize("form", ["folder", "zip", "zip with a top folder"])
def test_a_plain_lora_is_taken_in_and_rewritten(
    form: str, session: Session, user: User, model: BaseAudioModel, folder: Path, tmp_path: Path
) -> None:
    _set(folder, auto_mapping={"base_model_class": "Evil", "parent_library": "os"})
    source = folder
    if form != "folder":
        source = _zip(folder, tmp_path / "a.zip", top="mine/" if "top" in form else "")
    adapter = _take_in(user, model, source, file_name="theirs.zip")
    assert (adapter.name, adapter.job_id, adapter.base_model_hash) == ("theirs", None, "")
    assert adapter.origin["kind"] == "imported"
    assert adapter.origin["base_name"] == "somebody/their-model"
    assert adapter.origin["is_base_known"] is False
    assert adapter.origin["dropped"] == ["adapter_config.json: auto_mapping"]

    path = Path(adapter.path)
    written = json.loads((path / "adapter_config.json").read_text())
    assert written["target_modules"] == [LAYER]
    assert (written["r"], written["lora_alpha"]) == (RANK, 8)
    assert (written["task_type"], written["base_model_name_or_path"]) == (None, None)
    assert "auto_mapping" not in written
    assert (
        load_file(path / "adapter_model.safetensors").keys()
        == load_file(folder / "adapter_model.safetensors").keys()
    )
    assert adapter_files.read(path).needs.bits == 32
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]

    adapters.delete(session, actor=user, adapter_id=adapter.id)
    session.commit()
    assert not path.exists()


def test_our_own_adapters_know_their_base(user: User, model: BaseAudioModel, folder: Path) -> None:
    about = {
        "v": 1, "model_hash": model.content_hash, "inference": {"kind": "CtcTask", "sampling_rate": 16000},
        "quantization": {
            "load_in_4bit": True, "bnb_4bit_use_double_quant": False, "whole_encoder": True,
        },
        "metrics": {"wer": 0.0}, "certificate": {"verdict": "improved"},
    }  # fmt: skip
    (folder / "qlora_studio.json").write_text(json.dumps(about))
    adapter = _take_in(user, model, folder)
    assert adapter.origin["is_base_known"]
    assert adapter.base_model_hash == model.content_hash
    assert (adapter.certificate, adapter.metrics) == ({}, {})  # claims, not measurements
    assert adapter_files.read(Path(adapter.path)).needs == adapter_files.BaseNeeds(4, False, True)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another kind": (lambda f: _set(f, peft_type="IA3"), "Only LoRA"),
    "word tables": (lambda f: _set(f, trainable_token_indices=[1, 2]), "trainable_token_indices"),
    "bare parameters": (lambda f: _set(f, target_parameters=["x.weight"]), "target_parameters"),
    "repeated layers": (lambda f: _set(f, layer_replication=[[0, 4]]), "layer_replication"),
    "dora": (lambda f: _set(f, use_dora=True), "DoRA"),
    "code": (lambda f: _set(f, auto_map={"AutoModel": "evil.py"}), "auto_map"),
    "custom modules": (lambda f: _set(f, custom_modules={"a": "b"}), "custom_modules"),
    "unknown key": (lambda f: _set(f, load_from="/etc/passwd"), "load_from"),
    "expression": (lambda f: _set(f, rank_pattern={"(a+)+$": 4}), "by name"),
    "foreign head": (lambda f: _set(f, modules_to_save=["wav2vec2_bert"]), "not this model's head"),
    "huge rank": (lambda f: _set(f, r=10**9), "makes no sense"),
    "wrong rank": (lambda f: _set(f, r=8), "does not fit"),
    "bias": (lambda f: _set(f, bias="all"), "makes no sense"),
    "text for a number": (lambda f: _set(f, lora_alpha="8"), "makes no sense"),
    "no config": (lambda f: (f / "adapter_config.json").unlink(), "adapter_config.json"),
    "not json": (lambda f: (f / "adapter_config.json").write_text("{"), "not valid JSON"),
    "not a number": (lambda f: _save(f, _shapes(f), value=float("nan")), "not numbers"),
    "unknown layer": (lambda f: _save(f, {"base_model.model.nowhere.lora_A.weight": (4, 4),
                                          "base_model.model.nowhere.lora_B.weight": (4, 4)}), "no layer"),
    "one side": (lambda f: _save(f, dict(list(_shapes(f).items())[:1])), "both LoRA matrices"),
    "whole weights": (lambda f: _add(f, "base_model.model.lm_head.weight"), "speak of"),
    "an embedding": (lambda f: _add(f, f"base_model.model.{LAYER}.lora_embedding_A"), "no plain LoRA"),
    "a path as a name": (lambda f: _add(f, "base_model.model.../../x"), "no plain LoRA"),
}  # fmt: skip


def _add(folder: Path, name: str) -> None:
    _save(folder, {**_shapes(folder), name: (4, 4)})


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in load_file(folder / "adapter_model.safetensors").items()}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_plain_lora_of_this_model_is_refused(
    what: str, session: Session, user: User, model: BaseAudioModel, folder: Path
) -> None:
    spoil, reason = REFUSED[what]
    spoil(folder)
    with pytest.raises(ModelRefused, match=reason):
        _take_in(user, model, folder)
    _check_nothing_left(session, user)


def _check_nothing_left(session: Session, user: User) -> None:
    assert adapters.list_adapters(session, actor=user) == ([], 0)
    place = layout.data_path() / "adapters"
    assert not place.exists() or not list(place.iterdir())


class _Canary:
    """A pickle that leaves a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt", "adapter_model.safetensors"])
def test_a_pickle_is_never_opened_whatever_its_name(
    name: str, session: Session, user: User, model: BaseAudioModel, folder: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    (folder / "adapter_model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(_Canary(canary)))
    for source in (folder, _zip(folder, tmp_path / "a.zip")):
        with pytest.raises(ModelRefused, match="run code"):
            _take_in(user, model, source)
    assert not canary.exists()
    _check_nothing_left(session, user)


def test_a_pickle_beside_the_weights_is_left_out_and_shown(
    user: User, model: BaseAudioModel, folder: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    (folder / "optimizer.pt").write_bytes(pickle.dumps(_Canary(canary)))
    adapter = _take_in(user, model, folder)
    assert adapter.origin["dropped"] == ["optimizer.pt: not read"]
    assert {p.name for p in Path(adapter.path).iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "qlora_studio.json"
    }  # fmt: skip
    assert not canary.exists()


SPEAKS, N_VOICE = "speecht5.decoder.wrapped_decoder.layers.0.self_attn.q_proj", 8


@pytest.fixture
def speaker(session: Session, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaseAudioModel:
    """As much of a SpeechT5 as an adapter has to fit."""
    path = tmp_path / "speecht5"
    path.mkdir()
    shapes = {
        f"{SPEAKS}.weight": (16, 16),
        "speecht5.decoder.prenet.speaker_embeds_layer.weight": (16, 16 + N_VOICE),
    }
    weights = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    save_file(weights, path / "model.safetensors")
    made = BaseAudioModel(
        owner_id=user.id,
        name="speaks",
        task=Task.TEXT_TO_AUDIO,
        path=str(path),
        details={"family": "speecht5"},
    )
    session.add(made)
    session.commit()
    monkeypatch.setattr(models, "check_unchanged", lambda model: None)
    return made


@pytest.fixture
def speaking(folder: Path) -> Path:
    """An adapter of it with two voices."""
    _save(folder, {f"base_model.model.{SPEAKS}.lora_A.weight": (RANK, 16),
                   f"base_model.model.{SPEAKS}.lora_B.weight": (16, RANK)})  # fmt: skip
    voices = {name: np.full(N_VOICE, n, dtype=np.float32) for n, name in enumerate(("bob", "ann"))}
    save_file(voices, folder / "speaker_embeddings.safetensors")
    (folder / "qlora_studio.json").write_text(json.dumps({"inference": {"voices": ["bob", "ann"]}}))
    return folder


def test_an_adapter_that_speaks_keeps_its_voices(user: User, speaker: BaseAudioModel, speaking: Path) -> None:
    adapter = _take_in(user, speaker, speaking)
    kept = load_file(Path(adapter.path) / "speaker_embeddings.safetensors")
    assert sorted(kept) == ["ann", "bob"]
    assert kept["ann"].tolist() == [1.0] * N_VOICE
    assert adapter_files.read(Path(adapter.path)).inference["voices"] == ["bob", "ann"]
    assert adapter.origin["dropped"] == []


@pytest.mark.parametrize(("value", "n"), [(np.nan, N_VOICE), (np.inf, N_VOICE), (0.0, N_VOICE + 1)])
def test_voices_that_are_none_are_refused(
    value: float, n: int, user: User, speaker: BaseAudioModel, speaking: Path
) -> None:
    voices = {"ann": np.full(n, value, dtype=np.float32)}
    save_file(voices, speaking / "speaker_embeddings.safetensors")
    with pytest.raises(ModelRefused, match="speaker_embeddings"):
        _take_in(user, speaker, speaking)


def test_voices_for_a_model_that_does_not_speak_are_shown_as_left_out(
    user: User, model: BaseAudioModel, folder: Path
) -> None:
    save_file({"ann": np.zeros(8, dtype=np.float32)}, folder / "speaker_embeddings.safetensors")
    assert _take_in(user, model, folder).origin["dropped"] == ["speaker_embeddings.safetensors: not read"]


def test_a_head_without_any_dimension_is_refused() -> None:
    head = {"classifier.weight": TensorInfo("F32", (), 0, 4)}
    config = adapters_of_others._Config(peft_type="LORA", r=4, lora_alpha=8, modules_to_save=["classifier"])
    needs = adapters_of_others._HeadNeeds({"classifier"}, is_new=True, n_classes=3)
    base = adapters_of_others._Base({}, FAMILIES["wav2vec2"])
    with pytest.raises(ModelRefused, match="0 outputs for 3 classes"):
        adapters_of_others._check_heads(head, config, base, needs)


def test_a_lying_header_and_links_are_refused(
    session: Session, user: User, model: BaseAudioModel, folder: Path, tmp_path: Path
) -> None:
    weights = folder / "adapter_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(struct.pack("<Q", 2**60) + good[8:])
    with pytest.raises(ModelRefused, match="header"):
        _take_in(user, model, folder)
    (tmp_path / "elsewhere").write_bytes(good)
    weights.unlink()
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelRefused, match="links"):
        _take_in(user, model, folder)
    _check_nothing_left(session, user)


def test_dangerous_zips_are_refused(
    session: Session, user: User, model: BaseAudioModel, folder: Path, tmp_path: Path
) -> None:
    slip = tmp_path / "slip.zip"
    with zipfile.ZipFile(slip, "w") as archive:
        archive.writestr("../../escaped.json", "{}")
    text = tmp_path / "text.zip"
    text.write_text("no zip")
    for source in (slip, text):
        with pytest.raises(InvalidInput):
            _take_in(user, model, source)
    assert not (tmp_path / "escaped.json").exists()
    _check_nothing_left(session, user)


def test_a_full_disk_and_a_full_account_are_told(
    session: Session,
    user: User,
    model: BaseAudioModel,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StorageFull), adapter_imports.receiving():
        raise OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as full:
        full.setattr(staging, "RESERVE_BYTES", 2**60)
        for source in (folder, _zip(folder, tmp_path / "a.zip")):
            with pytest.raises(StorageFull):
                _take_in(user, model, source)
    held = quota.held_bytes(session, user.id)
    with monkeypatch.context() as small:
        small.setattr(get_settings(), "max_bytes_per_user", held + 10)
        with pytest.raises(TooLarge, match="Delete"):
            _take_in(user, model, folder)
    with monkeypatch.context() as shrinking:  # another's bytes come between the look and the row
        look = adapter_imports._require_room

        def look_and_shrink(actor: User, n_bytes: int) -> None:
            look(actor, n_bytes)
            shrinking.setattr(get_settings(), "max_bytes_per_user", held)

        shrinking.setattr(adapter_imports, "_require_room", look_and_shrink)
        with pytest.raises(TooLarge, match="Delete"):
            _take_in(user, model, folder)
    _check_nothing_left(session, user)
    adapter = _take_in(user, model, folder)
    session.rollback()
    assert quota.held_bytes(session, user.id) == held + adapter.size_bytes


def test_only_trainers_and_only_for_their_own_models(
    session: Session, user: User, stranger: User, model: BaseAudioModel, folder: Path
) -> None:
    with pytest.raises(NotFound):
        _take_in(stranger, model, folder)
    with pytest.raises(Forbidden):
        _take_in(make_user(session, "eve", Role.VIEWER), model, folder)
    _check_nothing_left(session, user)
