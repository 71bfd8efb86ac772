import json
import os
from pathlib import Path

import numpy as np
import pytest

from qlora_studio.core.errors import Conflict, InvalidInput
from qlora_studio.modelfiles.check import check_folder
from qlora_studio.modelfiles.prepare import (
    Placement,
    check_unchanged,
    content_hash,
    prepare_folder,
    take_fingerprints,
)
from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.modelfiles.roots import resolve_folder
from tests.modelfiles.build import whisper_folder, whisper_tensors, write_safetensors


def prepared(source: Path, target: Path, placement: Placement = "link") -> tuple[list, str]:
    checked = check_folder(source)
    prepare_folder(checked, target, placement=placement)
    prints = take_fingerprints(checked, target)
    return prints, content_hash(target, prints)


@pytest.mark.parametrize("placement", ["link", "copy", "move"])
def test_the_prepared_folder_holds_only_what_was_understood(tmp_path: Path, placement: Placement) -> None:
    source = whisper_folder(tmp_path / "m", trust_remote_code=True)
    (source / "modeling_evil.py").write_text("raise SystemExit")
    prints, digest = prepared(source, tmp_path / "ready", placement)
    names = {path.name for path in (tmp_path / "ready").iterdir()}
    assert "modeling_evil.py" not in names
    assert {"config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"} <= names
    config = json.loads((tmp_path / "ready" / "config.json").read_text())
    assert "trust_remote_code" not in config
    check_unchanged(tmp_path / "ready", prints, digest)


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    source = whisper_folder(tmp_path / "m")
    prints, digest = prepared(source, tmp_path / "ready")
    stamp = (source / "model.safetensors").stat().st_mtime_ns
    os.utime(source / "model.safetensors", ns=(stamp, stamp + 1))
    check_unchanged(tmp_path / "ready", prints, digest)  # touched, yet the same bytes
    other = whisper_tensors()
    other["model.encoder.layers.0.fc1.weight"][0, 0] = 1
    write_safetensors(source / "model.safetensors", other)
    with pytest.raises(Conflict, match="changed"):
        check_unchanged(tmp_path / "ready", prints, digest)


def test_a_link_swapped_after_the_check_is_noticed(tmp_path: Path) -> None:
    source = whisper_folder(tmp_path / "m")
    prints, digest = prepared(source, tmp_path / "ready")
    (source / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (source / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(Conflict, match="changed"):
        check_unchanged(tmp_path / "ready", prints, digest)
    (source / "model.safetensors").unlink()
    with pytest.raises(Conflict, match="gone") as refused:
        check_unchanged(tmp_path / "ready", prints, digest)
    assert str(tmp_path) not in refused.value.message


def test_a_changed_config_is_noticed(tmp_path: Path) -> None:
    prints, digest = prepared(whisper_folder(tmp_path / "m"), tmp_path / "ready")
    (tmp_path / "ready" / "config.json").write_text("{}")
    with pytest.raises(Conflict, match="changed"):
        check_unchanged(tmp_path / "ready", prints, digest)


def test_weights_that_are_not_numbers_are_found_when_read(tmp_path: Path) -> None:
    source = whisper_folder(tmp_path / "m")
    tensors = whisper_tensors()
    tensors["model.encoder.layers.0.fc2.weight"][:] = np.nan
    write_safetensors(source / "model.safetensors", tensors)
    with pytest.raises(ModelRefused, match="not numbers"):
        prepared(source, tmp_path / "ready")


def test_folders_under_a_root_are_found(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    assert resolve_folder(str(root / "a"), [root]) == root / "a"
    assert resolve_folder(str(root / "a" / ".." / "a"), [root]) == root / "a"


def test_paths_outside_the_roots_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "root-too").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    for raw in (
        "~",
        "~/models",
        "a",
        "",
        "/",
        "/etc",
        f"{root}/../outside",
        f"{root}/link",
        f"{root}-too",
        f"{root}/a\0b",
        f"{root}/missing",
    ):
        with pytest.raises(InvalidInput) as caught:
            resolve_folder(raw, [root])
        assert "source.path" in caught.value.fields
    with pytest.raises(InvalidInput, match="QLORA_STUDIO_MODEL_ROOTS"):
        resolve_folder(str(root / "a"), [])


def test_outside_answers_alike_whether_there_or_not(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    answers = set()
    for raw in ("/etc", "/no-such-folder"):
        with pytest.raises(InvalidInput) as caught:
            resolve_folder(raw, [root])
        answers.add(caught.value.message)
    assert len(answers) == 1
