"""Which files belong to a model: weights, settings, and what the tokenizer needs."""

import re

from qlora_studio.modelfiles.weights import CODE_CARRYING

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
ENDINGS = (".json", ".safetensors")
NAMES = ("merges.txt", "spm_char.model", "README.md")


def is_wanted(name: str) -> bool:
    """Whether a file of this name is taken. Only plain names, without folders, are."""
    return bool(_PLAIN.fullmatch(name)) and (name.endswith(ENDINGS) or name in NAMES)


def why_unwanted(name: str) -> str:
    """Say why a file is not taken."""
    shown = name[:80]
    if any(name.lower().endswith(ending) for ending in CODE_CARRYING):
        return f"“{shown}” is in a format that can run code when it is opened. Weights must be safetensors."
    if "/" in name:
        return f"“{shown}” is in a folder. A model's files lie side by side."
    return f"“{shown}” isn't part of a model: JSON, safetensors, {', '.join(NAMES[:-1])} and {NAMES[-1]} are."
