"""`qlora-studio notifications`, and what `train` tells before it ends."""

from collections.abc import Callable

import pytest
from sqlmodel import Session

from qlora_studio.commands import watching
from qlora_studio.contracts.enums import ExitReason, JobStatus
from qlora_studio.contracts.notices import NoticeKind
from qlora_studio.db import notices
from qlora_studio.db.models import Job, User
from qlora_studio.jobs import endings, supervisor
from qlora_studio.services import notification_channels, webhooks
from qlora_studio.services.delivery_errors import NotDelivered
from qlora_studio.services.notification_channels import WebhookCreate
from tests.commands.conftest import Run, answer
from tests.jobs.conftest import load, make_job, owner

__all__ = ["make_job", "owner"]
URL = "https://hooks.example/x"


def test_what_was_told_is_listed_and_marked_as_read(run: Run, session: Session, user: User) -> None:
    assert "Nothing to tell." in run("notifications", "list", "--user", "ada").output
    for title in ("first [bold]", "second"):
        notices.add(session, user_id=user.id, kind=NoticeKind.JOB_FAILED, title=title)
    session.commit()
    assert "first [bold]" in run("notifications", "list", "--user", "ada").output
    listed = answer(run("notifications", "list", "--user", "ada", "--unread", "--json"))
    first = next(item["id"] for item in listed if item["title"] == "first [bold]")
    assert "1 marked" in run("notifications", "read", first, "--user", "ada").output
    assert answer(run("notifications", "read", "--user", "ada", "--json")) == {"n_marked": 1}
    assert answer(run("notifications", "list", "--user", "ada", "--unread", "--json")) == []


def test_a_webhook_is_added_tested_and_removed(run: Run, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    who = ("--user", "ada")
    assert (
        "isn't a public server"
        in run("notifications", "add-webhook", "http://10.0.0.1/", *who, code=2).stderr
    )
    run("notifications", "add-webhook", URL, "--only", "gossip", *who, code=2)
    made = answer(run("notifications", "add-webhook", URL, "--only", "job_failed", *who, "--json"))
    assert made["secret"].startswith("whsec_")
    listed = run("notifications", "channels", *who)
    assert "job_failed" in listed.output
    assert made["secret"] not in listed.output + run("notifications", "channels", *who, "--json").output
    changed = answer(run("notifications", "change", made["id"], "--off", "--everything", *who, "--json"))
    assert (changed["is_on"], changed["kinds"]) == (False, [])
    assert (
        "on, told of job_failed"
        in run("notifications", "change", made["id"], "--on", "--only", "job_failed", *who).output
    )
    run("notifications", "change", made["id"], *who, code=2)
    monkeypatch.setattr(webhooks, "send", lambda *_, **__: None)
    assert "It arrived." in run("notifications", "test", made["id"], *who).output

    def refuse(*_: object, **__: object) -> None:
        raise NotDelivered("The server can't be reached.")

    monkeypatch.setattr(webhooks, "send", refuse)
    monkeypatch.setattr("qlora_studio.services.deliveries.TEST_EVERY_S", 0)
    assert "can't be reached" in run("notifications", "test", made["id"], *who, code=1).stderr
    run("notifications", "remove", made["id"], *who)
    run("notifications", "remove", made["id"], *who, code=2)
    assert "QLORA_STUDIO_SMTP_HOST" in run("notifications", "add-email", *who, code=1).stderr


def test_a_training_without_a_server_sends_its_end_before_it_returns(
    session: Session, owner: User, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("first")
    job.status = JobStatus.RUNNING
    session.add(job)
    form = WebhookCreate(kind="webhook", target=URL)
    notification_channels.create(session, actor=owner, form=form)
    session.commit()
    sent: list[str] = []
    monkeypatch.setattr(webhooks, "send", lambda url, *, payload, **_: sent.append(payload["text"]))

    def run_until_done(job_ids: list[str], **_: object) -> list[Job]:
        endings.record_failure(*job_ids, 1, ExitReason.DISK_FULL, "Make space and resume.")
        return [load(*job_ids)]

    monkeypatch.setattr(supervisor, "run_until_done", run_until_done)
    ended = watching.see_through(owner, job.id, quiet=True)
    assert ended.status is JobStatus.FAILED
    assert sent == [f"“first” has failed\nMake space and resume.\nhttp://localhost:3000/training/{job.id}"]
