"""Voices beside a SpeechT5 adapter: a vector for each speaker, without which it speaks otherwise."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.modelfiles.safetensors_header import TensorInfo, WeightsHeader, read_header

FILE = "speaker_embeddings.safetensors"
MAX_VOICES = 10_000
MAX_NAME = 200  # characters
_LAYER = "speaker_embeds_layer.weight"  # (width, width and a voice's numbers)
_DTYPES = {"F16": "<f2", "F32": "<f4"}


def read_voices(folder: Path, base: Mapping[str, TensorInfo]) -> WeightsHeader | None:
    """Check the voices in a folder; None without any, or where the base model has no use for them.

    Raises:
        ModelRefused: they are not vectors of real numbers as long as the base model takes them.
    """
    path = folder / FILE
    shapes = [tensor.shape for name, tensor in base.items() if name.endswith(_LAYER)]
    if not path.is_file() or path.is_symlink() or not shapes:
        return None
    width = shapes[0][1] - shapes[0][0]
    header = read_header(path)
    if len(header.tensors) > MAX_VOICES or max(map(len, header.tensors)) > MAX_NAME:
        raise ModelRefused(f"{FILE} has too many voices, or names that are too long.")
    if any(t.dtype not in _DTYPES or t.n_elements != width for t in header.tensors.values()):
        raise ModelRefused(f"{FILE} should hold a vector of {width} numbers for each voice.")
    with path.open("rb") as file:
        for tensor in header.tensors.values():
            file.seek(header.data_start + tensor.begin)
            numbers = np.frombuffer(file.read(tensor.end - tensor.begin), dtype=_DTYPES[tensor.dtype])
            if len(numbers) != width or not np.isfinite(numbers).all():
                raise ModelRefused(f"{FILE} holds values that are not numbers.")
    return header
