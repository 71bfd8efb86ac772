"""What is told when those who tell it are killed: each end once, and nothing lost on its way."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlmodel import Session, select

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.contracts.notices import DeliveryStatus, NoticeKind
from qlora_studio.core.clock import utc_now
from qlora_studio.core.settings import get_settings
from qlora_studio.db import notices
from qlora_studio.db.engine import read, write
from qlora_studio.db.models import Delivery, Job, Notification, User
from qlora_studio.services import notification_channels
from qlora_studio.services.deliveries import Sender
from qlora_studio.services.notification_channels import WebhookCreate
from qlora_studio.storage import layout
from tests.faults.harness import ROOT, START_S, SupervisorProcess, wait_for, wait_for_end

pytestmark = pytest.mark.slow
_SEND = "from qlora_studio.services.deliveries import Sender; Sender().run()"


class Receiver(ThreadingHTTPServer):
    """Notes the id of whatever it is sent; answers once it is let go."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.got: list[str] = []
        self.let_go = threading.Event()
        super().__init__(("127.0.0.1", 0), _Answer)

    def handle_error(self, *_: object) -> None:
        """A sender that was killed hangs up; that is what is wanted."""


class _Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.got.append(self.headers["webhook-id"])
        self.server.let_go.wait(30)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    made = Receiver()
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("QLORA_STUDIO_WEBHOOK_HOSTS", f"127.0.0.1:{made.server_port}")
    get_settings.cache_clear()
    yield made
    made.let_go.set()
    made.shutdown()
    made.server_close()


def add_hook(session: Session, user: User, receiver: Receiver) -> None:
    form = WebhookCreate(kind="webhook", target=f"http://127.0.0.1:{receiver.server_port}/hook")
    notification_channels.create(session, actor=user, form=form)
    session.commit()


def told() -> list[Notification]:
    with read() as session:
        return list(session.exec(select(Notification)))


def deliveries() -> list[Delivery]:
    with read() as session:
        return list(session.exec(select(Delivery)))


@pytest.mark.fault("F2", "kill the supervisor as jobs end, three times", "each end is told exactly once")
def test_an_end_is_told_once_whenever_the_supervisor_is_killed(
    supervisor: SupervisorProcess,
    launch: Callable[..., Job],
    session: Session,
    user: User,
    receiver: Receiver,
) -> None:
    add_hook(session, user, receiver)
    receiver.let_go.set()
    jobs = [launch(4, f"job {n}") for n in range(3)]
    for job in jobs:
        supervisor.start()
        result = layout.attempt_path(job.id, 1) / "result.json"
        wait_for(result.exists, within_s=60, what="the worker's result")
        supervisor.kill()  # its end may or may not be written down by now
    supervisor.start()
    for job in jobs:
        assert wait_for_end(job.id).status is JobStatus.SUCCEEDED
    assert sorted(notice.job_id or "" for notice in told()) == sorted(job.id for job in jobs)
    Sender().finish(within_s=30)
    assert sorted(receiver.got) == sorted(notice.id for notice in told())


@pytest.mark.fault("F2", "kill a server while it sends a webhook", "the next one sends it, with the same id")
def test_what_a_killed_sender_was_sending_is_sent_by_the_next(
    session: Session, user: User, receiver: Receiver
) -> None:
    add_hook(session, user, receiver)
    notice = notices.add(session, user_id=user.id, kind=NoticeKind.JOB_LOST, title="x")
    session.commit()
    process = subprocess.Popen([sys.executable, "-c", _SEND], cwd=ROOT, env=os.environ)
    try:
        wait_for(lambda: receiver.got, within_s=START_S * 2, what="the first try")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    (delivery,) = deliveries()
    assert (delivery.status, delivery.n_tries) == (DeliveryStatus.SENDING, 1)
    receiver.let_go.set()
    sender = Sender()
    assert sender.look() == 0, "it may still be under way"
    with write() as other:  # as if the two minutes of its claim were over
        row = other.exec(select(Delivery)).one()
        row.next_at = utc_now() - timedelta(seconds=1)
        other.add(row)
    sender.finish(within_s=30)
    assert receiver.got == [notice.id] * 2
    (delivery,) = deliveries()
    assert (delivery.status, delivery.n_tries) == (DeliveryStatus.DELIVERED, 2)
