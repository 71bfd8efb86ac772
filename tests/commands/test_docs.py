import re
from pathlib import Path

import typer.main
import yaml

from qlora_studio.cli import app
from qlora_studio.contracts.spec import TrainSpec
from tests.commands.conftest import verbs

PAGE = (Path(__file__).parents[2] / "docs/command-line.md").read_text()


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    there = {name for name, _ in verbs(typer.main.get_command(app))}
    documented = {
        " ".join(found.split()) for found in re.findall(r"`qlora-studio ((?:[a-z][a-z-]* ?)+)", PAGE)
    }
    assert documented == there


def test_the_example_job_is_one() -> None:
    found = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    TrainSpec.model_validate(yaml.safe_load(found[1]))
