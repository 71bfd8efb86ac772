"""The folder that a worker loads: cleaned JSON beside the weights, and fingerprints to know them again."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from qlora_studio.core.errors import Conflict
from qlora_studio.modelfiles.check import CheckedModel
from qlora_studio.modelfiles.safetensors_header import hash_weights
from qlora_studio.modelfiles.weights import INDEX
from qlora_studio.storage.atomic import sha256_file, sync_folder, write_text

Placement = Literal["link", "copy", "move"]


def prepare_folder(checked: CheckedModel, target: Path, *, placement: Placement) -> None:
    """Make `target`: config, tokenizer and extractor rewritten from what was understood, weights placed.

    Weights are linked where they lie ("link"), copied, or moved. `target` appears whole or not at all.

    Raises:
        OSError: the disk is full or the folder can't be written.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        config = checked.config.cleaned() | {"architectures": [checked.architecture]}
        _write_json(partial / "config.json", config)
        for name, data in checked.processor.json_files.items():
            _write_json(partial / name, data)
        for path in checked.processor.copied_files:
            shutil.copyfile(path, partial / path.name)
        if len(checked.weights) > 1:
            weight_map = {name: header.path.name for header in checked.weights for name in header.tensors}
            _write_json(
                partial / INDEX, {"metadata": {"total_size": checked.size_bytes}, "weight_map": weight_map}
            )
        for header in checked.weights:
            _place(header.path, partial / header.path.name, placement)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _place(source: Path, target: Path, placement: Placement) -> None:
    if placement == "link":
        target.symlink_to(source.resolve())
    elif placement == "copy":
        shutil.copyfile(source, target)
    else:
        os.replace(source.resolve(), target)


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def take_fingerprints(checked: CheckedModel, prepared: Path) -> list[dict[str, Any]]:
    """Read the weights once: name, real path, size, time of change and SHA-256 of each file.

    Raises:
        ModelRefused: the weights hold values that are not numbers.
    """
    prints = []
    for header in checked.weights:
        path = (prepared / header.path.name).resolve()
        before = path.stat()
        prints.append(
            {
                "name": header.path.name,
                "path": str(path),
                "size_bytes": before.st_size,
                "mtime_ns": before.st_mtime_ns,
                "sha256": hash_weights(replace(header, path=path)),
            }
        )
    return prints


def content_hash(prepared: Path, fingerprints: Sequence[Mapping[str, Any]]) -> str:
    """One SHA-256 over the cleaned files and the weights' own hashes."""
    weights = {entry["name"]: entry["sha256"] for entry in fingerprints}
    digest = hashlib.sha256()
    for path in sorted(prepared.iterdir()):
        digest.update(f"{path.name}\0{weights.get(path.name) or sha256_file(path)}\n".encode())
    return digest.hexdigest()


def check_unchanged(prepared: Path, fingerprints: Sequence[Mapping[str, Any]], expected_hash: str) -> None:
    """Make sure that the files are still the ones that were checked.

    Weights whose size and time of change are as they were are not read again.

    Raises:
        Conflict: a file is gone, leads elsewhere or has other contents.
    """
    current = []
    for entry in fingerprints:
        path = prepared / str(entry["name"])
        try:
            real, stat = path.resolve(strict=True), path.stat()
        except OSError as error:
            raise Conflict(
                f"The model's weights are gone: {entry['name']} can't be read. Put them back, or "
                "register the model again."
            ) from error
        same_stat = (stat.st_size, stat.st_mtime_ns) == (entry["size_bytes"], entry["mtime_ns"])
        if str(real) != entry["path"] or (not same_stat and sha256_file(path) != entry["sha256"]):
            raise Conflict(
                f"The model's weights have changed since they were checked ({entry['name']}). Register it "
                "again."
            )
        current.append(entry)
    try:
        found = content_hash(prepared, current)
    except OSError as error:
        raise Conflict("The model's files are gone. Put them back, or register the model again.") from error
    if found != expected_hash:
        raise Conflict("The model's files have changed since they were checked. Register the model again.")
