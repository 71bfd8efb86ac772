"""Models and clips shared by the training tests: made once a session, never written to."""

from pathlib import Path

import pytest

from tests.training import tiny


@pytest.fixture(scope="session")
def clips_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def ctc_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the starter's family, with weights."""
    return tiny.make_wav2vec2_bert(tmp_path_factory.mktemp("ctc"))


@pytest.fixture(scope="session")
def whisper_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="session")
def moonshine_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_moonshine(tmp_path_factory.mktemp("moonshine"))
