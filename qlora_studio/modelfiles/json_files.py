"""Small JSON files that came from strangers: bounded in size and depth, no code-carrying keys."""

import json
from pathlib import Path
from typing import Any

from qlora_studio.modelfiles.refusal import ModelRefused

MAX_SMALL_BYTES = 8 * 2**20
MAX_TOKENIZER_BYTES = 64 * 2**20
MAX_DEPTH = 32

# These point a loader at Python code of the model's author: the model would not be the same without it.
REFUSED_KEYS = {
    "auto_map": "it needs Python code of its author (auto_map)",
    "custom_pipelines": "it needs Python code of its author (custom_pipelines)",
    "quantization_config": (
        "it is quantised already; register the original weights, and the studio makes the 4-bit ones"
    ),
}
# These only change how a loader behaves: without them the model is the same, so they are dropped and shown.
UNSAFE_KEYS = frozenset(
    {
        "trust_remote_code",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
        "code_revision",
        "_commit_hash",
        "custom_generate",
        "chat_template",
        "kernel_config",
        "use_kernels",
        "compile_config",
        "tokenizer_file",
        "vocab_file",
        "merges_file",
        "special_tokens_map_file",
        "name_or_path",
        "_name_or_path",
        "adapter_model_id",
    }
)


def read_object(path: Path, *, max_bytes: int = MAX_SMALL_BYTES) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelRefused: too large, not JSON, too deep, not an object, or it needs someone's code.
    """
    size_bytes = path.stat().st_size
    if size_bytes > max_bytes:
        raise ModelRefused(f"{path.name} is {size_bytes:,} bytes; {max_bytes:,} is the most accepted.")
    try:
        value = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelRefused(f"{path.name} is not valid JSON.") from error
    if not isinstance(value, dict):
        raise ModelRefused(f"{path.name} should hold a JSON object.")
    _check_depth(value, path.name)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_depth(value: Any, name: str) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise ModelRefused(f"{name} is nested too deeply.")


def strip_unsafe(value: dict[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """Return `value` without the unsafe keys, at any depth, and the names of what was dropped.

    Raises:
        ModelRefused: a key that can't be dropped without changing the model.
    """
    dropped: list[str] = []

    def clean(node: Any) -> Any:
        if isinstance(node, list):
            return [clean(item) for item in node]
        if not isinstance(node, dict):
            return node
        for key, reason in REFUSED_KEYS.items():
            if node.get(key):
                raise ModelRefused(f"{name} can't be used: {reason}.")
        dropped.extend(f"{name}: {key}" for key in node if key in UNSAFE_KEYS and node[key])
        return {k: clean(v) for k, v in node.items() if k not in UNSAFE_KEYS and k not in REFUSED_KEYS}

    return clean(value), dropped
