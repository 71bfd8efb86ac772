"""Our own reader of safetensors headers, which believes nothing the file says.

A safetensors file is eight bytes (length of the header, little endian), the header in JSON (name -> dtype,
shape, begin and end offset) and the tensors' bytes without gaps. Everything is checked against the size of
the file before anything is used, and a header longer than `MAX_HEADER_BYTES` is not even read.
"""

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from qlora_studio.modelfiles.refusal import ModelRefused

MAX_HEADER_BYTES = 16 * 2**20
MAX_TENSORS = 100_000
_MAX_DIMENSIONS = 8
_CHUNK_BYTES = 8 * 2**20

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}
# Of a float's bits without the sign: more than this is not a number.
_INFINITY_BITS = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F80_0000, "F64": 0x7FF0_0000_0000_0000}
_FOREIGN_MAGIC = {
    b"\x80": "a pickle",
    b"PK": "a zip archive (PyTorch's pickle format)",
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x93NUMPY": "a NumPy array file",
    b"GGUF": "a GGUF file",
}


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: offsets in bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class WeightsHeader:
    """What a weights file says it holds, after every claim was checked against its size."""

    path: Path
    data_start: int
    size_bytes: int
    tensors: dict[str, TensorInfo]


def read_header(path: Path) -> WeightsHeader:
    """Read and check the header of one weights file.

    Raises:
        ModelRefused: the file is not safetensors, or what it claims does not fit its bytes.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        raw = _read_raw_header(file, path.name, size_bytes)
    entries = _parse(raw, path.name)
    entries.pop("__metadata__", None)
    if not entries:
        raise ModelRefused(f"{path.name} holds no tensors.")
    if len(entries) > MAX_TENSORS:
        raise ModelRefused(
            f"{path.name} names {len(entries):,} tensors; {MAX_TENSORS:,} is the most accepted."
        )
    tensors = {name: _tensor(name, entry, path.name) for name, entry in entries.items()}
    data_start = 8 + len(raw)
    _check_layout(tensors, size_bytes - data_start, path.name)
    return WeightsHeader(path, data_start, size_bytes, tensors)


def _read_raw_header(file: BinaryIO, name: str, size_bytes: int) -> bytes:
    first = file.read(8)
    for magic, kind in _FOREIGN_MAGIC.items():
        # A header of that many bytes can't begin so: the ninth byte must open the JSON object.
        if first.startswith(magic) and file.peek(1)[:1] != b"{":  # type: ignore[attr-defined]
            raise ModelRefused(
                f"{name} is {kind} with another name, not safetensors. Such files can run code."
            )
    if len(first) < 8:
        raise ModelRefused(f"{name} is too short to be a safetensors file.")
    (length,) = struct.unpack("<Q", first)
    if length > size_bytes - 8:
        raise ModelRefused(
            f"{name} is not a whole safetensors file: its header would end after the file does."
        )
    if length > MAX_HEADER_BYTES:
        raise ModelRefused(
            f"{name} has a header of {length:,} bytes; {MAX_HEADER_BYTES:,} is the most accepted."
        )
    return file.read(length)


def _parse(raw: bytes, name: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ModelRefused(f"{name} names the same tensor or field twice in its header.")
        return result

    try:
        entries = json.loads(raw, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ModelRefused(f"{name} is not a safetensors file: its header can't be read.") from error
    if not isinstance(entries, dict):
        raise ModelRefused(f"{name} is not a safetensors file: its header is not an object.")
    return entries


def _tensor(name: str, entry: Any, file_name: str) -> TensorInfo:
    bad = ModelRefused(f"{file_name} describes the tensor “{name[:80]}” in a way that makes no sense.")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise bad
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise bad
    if not _is_sizes(shape) or len(shape) > _MAX_DIMENSIONS or not _is_sizes(offsets) or len(offsets) != 2:
        raise bad
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPE_BYTES[dtype]:
        raise bad
    return TensorInfo(dtype, tuple(shape), begin, end)


def _is_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**48 for v in value)


def _check_layout(tensors: dict[str, TensorInfo], data_bytes: int, file_name: str) -> None:
    position = 0
    for tensor in sorted(tensors.values(), key=lambda t: (t.begin, t.end)):
        if tensor.begin != position:
            kind = "overlap" if tensor.begin < position else "leave a gap"
            raise ModelRefused(f"{file_name} is damaged: its tensors {kind}.")
        position = tensor.end
    if position != data_bytes:
        raise ModelRefused(
            f"{file_name} is incomplete: {position:,} bytes of weights are described, {data_bytes:,} are "
            "there."
        )


def hash_weights(header: WeightsHeader) -> str:
    """Read a weights file once, in pieces: its SHA-256 in hexadecimal, and no tensor may hold a not-a-number.

    Raises:
        ModelRefused: a tensor holds a not-a-number, or the file changed under our hands.
    """
    digest = hashlib.sha256()
    with header.path.open("rb") as file:
        digest.update(file.read(header.data_start))
        for name, tensor in sorted(header.tensors.items(), key=lambda item: item[1].begin):
            left = tensor.end - tensor.begin
            while left:
                piece = file.read(min(left, _CHUNK_BYTES))
                if not piece:
                    raise ModelRefused(f"{header.path.name} changed while it was read.")
                digest.update(piece)
                if _has_nan(piece, tensor.dtype):
                    raise ModelRefused(
                        f"The weights are broken: “{name[:80]}” holds values that are not numbers."
                    )
                left -= len(piece)
        if file.read(1):
            raise ModelRefused(f"{header.path.name} changed while it was read.")
    return digest.hexdigest()


def _has_nan(piece: bytes, dtype: str) -> bool:
    infinity = _INFINITY_BITS.get(dtype)
    if infinity is None:
        return False
    width = DTYPE_BYTES[dtype]
    bits = np.frombuffer(piece, dtype=f"<u{width}")
    without_sign = bits & np.array(2 ** (8 * width - 1) - 1, dtype=bits.dtype)
    return bool((without_sign > np.array(infinity, dtype=bits.dtype)).any())
