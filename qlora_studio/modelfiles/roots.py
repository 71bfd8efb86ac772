"""Custom paths: only folders under the roots that whoever runs the server allowed."""

from collections.abc import Sequence
from pathlib import Path

from qlora_studio.core.errors import InvalidInput


def resolve_folder(raw: str, roots: Sequence[Path]) -> Path:
    """Turn what a person typed into a real folder under one of `roots` (themselves resolved).

    Symbolic links are followed first, so a link that leads out of the roots is outside.

    Raises:
        InvalidInput: not absolute, outside the roots, or not a folder. What is outside answers the same
            whether it exists or not.
    """
    if not roots:
        raise _refused(
            "No model folders are allowed on this server. Set QLORA_STUDIO_MODEL_ROOTS to the folder's "
            "parent."
        )
    if not raw or "\0" in raw or not raw.startswith("/"):
        raise _refused("Give the folder's full path, beginning with “/”.")
    try:
        folder = Path(raw).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise _refused("That path can't be followed.") from error
    if not is_inside(folder, roots):
        listed = ", ".join(str(root) for root in roots)
        raise _refused(f"That folder is outside the allowed model folders ({listed}).")
    if not folder.is_dir():
        raise _refused("There is no folder at that path.")
    return folder


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """Whether a resolved path is one of the roots or below one."""
    return any(path == root or root in path.parents for root in roots)


def _refused(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, fields={"source.path": sentence})
