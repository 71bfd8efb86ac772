"""The model card: licence and languages from the front matter of README.md, as plain strings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_MAX_BYTES = 64 * 1024
_MAX_LANGUAGES = 200


@dataclass(frozen=True)
class ModelCard:
    """`license` is empty and `languages` none when the card does not say."""

    license: str = ""
    languages: tuple[str, ...] = ()


def read_card(folder: Path) -> ModelCard:
    """Read the card's front matter; a missing or broken one is an empty card, never an error."""
    path = folder / "README.md"
    if not path.is_file():
        return ModelCard()
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES).decode("utf-8", errors="replace")
    if not text.startswith("---"):
        return ModelCard()
    front = text[3:].split("\n---", 1)[0]
    try:
        data = yaml.load(front, Loader=yaml.BaseLoader)  # strings only: `no` stays Norwegian
    except (yaml.YAMLError, RecursionError, ValueError):
        return ModelCard()
    return _from_data(data) if isinstance(data, dict) else ModelCard()


def _from_data(data: dict[str, Any]) -> ModelCard:
    license_name = data.get("license_name") or data.get("license") or ""
    languages = data.get("language") or data.get("languages") or []
    if isinstance(languages, str):
        languages = [languages]
    if not isinstance(languages, list):
        languages = []
    return ModelCard(
        license=str(license_name)[:120] if isinstance(license_name, str) else "",
        languages=tuple(str(code)[:20] for code in languages[:_MAX_LANGUAGES] if isinstance(code, str)),
    )
