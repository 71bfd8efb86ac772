"""Which files are a model's: the server and the page that sends them agree."""

import re
from pathlib import Path

import pytest

from qlora_studio.modelfiles import names

SCRIPT = Path(__file__).parents[2] / "assets/js/upload_batch.js"


@pytest.mark.parametrize("name", [*names.NAMES, *(f"part-1{ending}" for ending in names.ENDINGS)])
def test_the_page_sends_every_file_that_is_taken(name: str) -> None:
    found = re.search(r"OF_A_MODEL = /(.+)/;", SCRIPT.read_text())
    assert found is not None
    assert re.search(found[1], name)
    assert names.is_wanted(name)


def test_a_refusal_names_what_is_taken() -> None:
    sentence = names.why_unwanted("training_args.txt")
    assert all(name in sentence for name in names.NAMES)
