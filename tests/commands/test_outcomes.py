"""`export`, `jobs tensorboard` and `adapters push`: what they write, and what they print."""

import zipfile
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import Session

from qlora_studio.db.models import Adapter, Job, User
from qlora_studio.jobs.events import EventReader
from qlora_studio.jobs.tensorboard import EventFile
from qlora_studio.services import credentials
from qlora_studio.services.credentials import HubToken
from qlora_studio.storage import layout
from tests.commands.conftest import Run, answer
from tests.services.hub import Hub, hub
from tests.services.outcomes import make_adapter, make_finished_job
from tests.services.test_pushes import ACCOUNT, TOKEN

__all__ = ["hub"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # within the Hub's client
AS = ("--user", "ada")


@pytest.fixture
def job(session: Session, user: User) -> Job:
    return make_finished_job(session, user)


@pytest.fixture
def adapter(session: Session, user: User, job: Job) -> Adapter:
    return make_adapter(session, user, job)


def test_results_and_tensorboard(run: Run, job: Job, adapter: Adapter, tmp_path: Path) -> None:
    assert "not begun" in run("jobs", "tensorboard", job.id, *AS, code=2).stderr
    reader = EventReader(layout.attempt_path(job.id, 1) / "events.jsonl")
    EventFile(job.id, 1).take(reader.read(), offset=reader.offset)
    folder = layout.run_path(job.id) / "tensorboard"
    assert run("jobs", "tensorboard", job.id, *AS).stdout.split() == ["tensorboard", "--logdir", str(folder)]
    run("jobs", "tensorboard", job.id, "--to", str(tmp_path / "tb.zip"), *AS)
    assert len(zipfile.ZipFile(tmp_path / "tb.zip").namelist()) == 1
    run("export", job.id, "--to", str(tmp_path / "results.zip"), *AS)
    assert "tensorboard/" in " ".join(zipfile.ZipFile(tmp_path / "results.zip").namelist())
    refused = run("export", job.id, "--merged", "--to", str(tmp_path / "more.zip"), *AS, code=1)
    assert "not been merged" in refused.stderr
    assert not (tmp_path / "more.zip").exists()


@pytest.mark.slow
def test_a_push_is_followed_to_its_end(
    hub: type[Hub], run: Run, session: Session, user: User, adapter: Adapter
) -> None:
    hub.accounts = {TOKEN: ACCOUNT}
    form = HubToken(kind="hub", name="mine", token=SecretStr(TOKEN))
    credentials.create(session, actor=user, form=form)
    session.commit()
    asked = ("adapters", "push", adapter.id, "prompts", "--credential", "mine", *AS)
    told = answer(run(*asked, "--json"))
    assert (told["status"], told["repo_id"], told["is_private"]) == ("succeeded", "anna/prompts", True)
    assert run(*asked).stdout.strip().endswith("/anna/prompts")
    hub.trouble = [("whoami", 401)]
    failed = run(*asked, code=1)
    assert "does not accept this token" in failed.stderr
    assert TOKEN not in failed.output
