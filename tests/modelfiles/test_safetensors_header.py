import json
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.modelfiles.safetensors_header import hash_weights, read_header
from qlora_studio.storage.atomic import sha256_file
from tests.modelfiles.build import write_raw, write_safetensors


def entry(begin: int, end: int, dtype: str = "F32", shape: list[int] | None = None) -> dict[str, object]:
    return {
        "dtype": dtype,
        "shape": [(end - begin) // 4] if shape is None else shape,
        "data_offsets": [begin, end],
    }


def test_reads_names_shapes_and_sizes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a.weight": np.ones((2, 3), np.float32), "b": np.ones(4, np.float16)})
    header = read_header(path)
    assert header.tensors["a.weight"].shape == (2, 3)
    assert header.tensors["b"].dtype == "F16"
    assert sum(t.n_elements for t in header.tensors.values()) == 10
    assert hash_weights(header) == sha256_file(path)


@pytest.mark.parametrize(
    ("header", "data", "part"),
    [
        ({"a": entry(0, 8), "b": entry(4, 12)}, b"\0" * 12, "overlap"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, b"\0" * 12, "gap"),
        ({"a": entry(0, 400)}, b"\0" * 4, "incomplete"),
        ({"a": entry(0, 4)}, b"\0" * 40, "incomplete"),
        ({"a": entry(0, 4, shape=[2])}, b"\0" * 4, "no sense"),
        ({"a": entry(0, 4, shape=[-1, -1])}, b"\0" * 4, "no sense"),
        ({"a": entry(0, 4, shape=[2**40, 2**40])}, b"\0" * 4, "no sense"),
        ({"a": entry(0, 4, shape=[True])}, b"\0" * 4, "no sense"),
        ({"a": entry(0, 4, dtype="X9")}, b"\0" * 4, "no sense"),
        ({"a": {"dtype": "F32"}}, b"", "no sense"),
        ({"a": "code"}, b"", "no sense"),
        ({}, b"", "no tensors"),
        ([1, 2], b"", "not an object"),
    ],
)
def test_claims_that_do_not_fit_the_bytes_are_refused(
    tmp_path: Path, header: object, data: bytes, part: str
) -> None:
    path = tmp_path / "model.safetensors"
    write_raw(path, json.dumps(header).encode(), data)
    with pytest.raises(ModelRefused, match=part):
        read_header(path)


def test_duplicate_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    one = json.dumps(entry(0, 4))
    write_raw(path, f'{{"a": {one}, "a": {one}}}'.encode(), b"\0" * 4)
    with pytest.raises(ModelRefused, match="twice"):
        read_header(path)


@pytest.mark.parametrize("raw", [b"", b"\1\2", struct.pack("<Q", 2**63), struct.pack("<Q", 10**9) + b"{}"])
def test_lengths_that_lie_are_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ModelRefused):
        read_header(path)


def test_a_giant_header_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 3 * 2**30))
        file.truncate(4 * 2**30)  # sparse: takes no room
    tracemalloc.start()
    with pytest.raises(ModelRefused, match="header of"):
        read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_header_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_raw(path, b'{"a":' + b"[" * 200_000)
    with pytest.raises(ModelRefused, match="can't be read"):
        read_header(path)


class Canary:
    """Unpickling this leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_with_another_name_is_refused_and_never_opened(tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Canary(canary), protocol=protocol))
    with pytest.raises(ModelRefused, match="pickle"):
        read_header(path)
    assert not canary.exists()


def test_a_zip_with_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(ModelRefused, match="zip"):
        read_header(path)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_weights_that_are_not_numbers_are_refused(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "model.safetensors"
    weights = np.ones((4, 4), dtype)
    write_safetensors(path, {"fine": weights})
    hash_weights(read_header(path))
    weights[2, 2] = -np.inf  # masks hold these: infinity is a number here
    write_safetensors(path, {"fine": weights})
    hash_weights(read_header(path))
    weights[1, 1] = np.nan
    write_safetensors(path, {"fine": np.ones(3, dtype), "broken": weights})
    with pytest.raises(ModelRefused, match="broken"):
        hash_weights(read_header(path))
