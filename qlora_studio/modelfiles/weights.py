"""Finding a model's weights: safetensors, whole or in shards, and a reason for everything else."""

import re
from pathlib import Path

from qlora_studio.modelfiles.json_files import read_object
from qlora_studio.modelfiles.refusal import ModelRefused
from qlora_studio.modelfiles.safetensors_header import WeightsHeader, read_header

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_SHARDS = 512
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\.safetensors")
_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
CODE_CARRYING = frozenset(
    ".bin .pt .pth .ckpt .pkl .pickle .npz .npy .h5 .hdf5 .keras .joblib .dill .tar .mar "
    ".model_archive".split()
)
OTHER_WEIGHTS = {
    ".msgpack": "Flax",
    ".onnx": "ONNX",
    ".gguf": "GGUF",
    ".tflite": "TensorFlow Lite",
    ".pb": "TensorFlow",
}


def find_weights(folder: Path) -> tuple[WeightsHeader, ...]:
    """Read the headers of a folder's weights.

    Raises:
        ModelRefused: no safetensors weights, or they are damaged, quantised already or incomplete.
    """
    if (folder / INDEX).is_file():
        headers = _read_shards(folder)
    elif (folder / SINGLE).is_file():
        headers = (read_header(folder / SINGLE),)
    else:
        raise ModelRefused(why_no_weights([path.name for path in folder.iterdir()]))
    for header in headers:
        for name, tensor in header.tensors.items():
            if name.endswith(".weight") and tensor.dtype not in _FLOATS:
                raise ModelRefused(
                    f"“{name[:80]}” is stored as {tensor.dtype}. Register the original weights in 16 or 32 "
                    "bits; "
                    "the studio makes the 4-bit ones itself."
                )
    return headers


def why_no_weights(names: list[str]) -> str:
    """Say what a folder (or a Hub repository) with these file names has in place of safetensors weights."""
    pickled = sorted(name for name in names if Path(name).suffix.lower() in CODE_CARRYING)
    if pickled:
        return (
            f"The weights are in {pickled[0][:80]}, a format that can run code when it is opened. "
            "Only safetensors is accepted: ask for, or convert to, model.safetensors."
        )
    for name in names:
        kind = OTHER_WEIGHTS.get(Path(name).suffix.lower())
        if kind:
            return f"The weights are in {kind} format ({name[:80]}). Only safetensors is accepted."
    if "adapter_model.safetensors" in names:
        return "This is an adapter, not a base model. Register the model it was trained on."
    return "There are no weights in that folder: it needs model.safetensors."


def _read_shards(folder: Path) -> tuple[WeightsHeader, ...]:
    weight_map = read_object(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelRefused(f"{INDEX} does not say which file holds which tensor.")
    files = set(weight_map.values()) if all(isinstance(v, str) for v in weight_map.values()) else set()
    if not files or len(files) > MAX_SHARDS or not all(_SHARD.fullmatch(name) for name in files):
        raise ModelRefused(f"{INDEX} names files that can't be weights of this model.")
    for name in sorted(files):
        if not (folder / name).is_file():
            raise ModelRefused(f"The weights are incomplete: {name} is missing.")
    headers = tuple(read_header(folder / name) for name in sorted(files))
    named = [tensor for header in headers for tensor in header.tensors]
    if len(set(named)) != len(named) or set(named) != set(weight_map):
        raise ModelRefused(f"{INDEX} and the weight files do not name the same tensors.")
    return headers
