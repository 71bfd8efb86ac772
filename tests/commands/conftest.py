import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from qlora_studio.cli import app

Run = Callable[..., Result]


@pytest.fixture
def run(data_folder: Path) -> Run:
    """Run the command line in this process."""

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, (result.exit_code, result.output, result.exception)
        return result

    return call


def answer(result: Result) -> Any:
    """The JSON that a command printed."""
    return json.loads(result.stdout)


def problem(result: Result) -> Any:
    """The JSON of a command's error: the last line of standard error, with nothing answered."""
    assert not result.stdout
    return json.loads(result.stderr.splitlines()[-1])


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each command that does something, under its words."""
    if not hasattr(command, "list_commands"):
        yield " ".join(path), command
        return
    for name in command.list_commands(None):
        yield from verbs(command.get_command(None, name), (*path, name))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Ten half-second clips with their words."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(10):
        soundfile.write(folder / f"{index}.wav", 0.1 * rng.standard_normal(8000), 16_000)
        (folder / f"{index}.txt").write_text(f"word number {index}")
    return folder
