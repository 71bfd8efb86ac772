"""File names from outside, made fit to show and to compare. They are never used as paths."""

import hashlib
import unicodedata
from pathlib import PurePosixPath

MAX_LENGTH = 300
_JUNK_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_DOCUMENT_STEMS = tuple("readme license licence attribution copying copyright notice changelog".split())


def clean_name(raw: str) -> str:
    r"""Return a relative name with `/` between folders: no `..`, no drive, no control or direction marks.

    Characters that could mislead are shown as `\u202e`. The result is never empty.
    """
    text = unicodedata.normalize("NFC", raw).replace("\\", "/")
    text = "".join(_visible(c) for c in text)
    parts = [part.strip() for part in text.split("/")]
    parts = [part for part in parts if part not in ("", ".", "..")]
    name = "/".join(parts) or "unnamed"
    if len(name) > MAX_LENGTH:
        name = "…" + name[-(MAX_LENGTH - 1) :].lstrip("/")
    return name


def _visible(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"\\u{ord(character):04x}"
    return character


def staged_name(name: str) -> str:
    """The generated name under which a file is kept in staging; the same name gives the same one."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def is_junk(name: str) -> bool:
    """Whether an operating system left it there: it is not part of anybody's data."""
    path = PurePosixPath(name)
    last = path.name.lower()
    return "__MACOSX" in path.parts or last.startswith("._") or last in _JUNK_NAMES


def is_document(name: str) -> bool:
    """Whether it is a note about the data, such as README.md or LICENSE."""
    return PurePosixPath(name).name.lower().startswith(_DOCUMENT_STEMS)
