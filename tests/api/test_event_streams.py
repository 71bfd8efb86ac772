"""An open stream of a job's events ends with what it was opened with."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlmodel import Session

from qlora_studio.contracts.enums import TokenScope
from qlora_studio.db.models import User
from qlora_studio.services import accounts, jobs, tokens
from qlora_studio.services.tokens import TokenCreate
from tests.jobs.workbench import make_dataset, make_model, make_spec


class Stream:
    """One request for a job's events, and what has come of it so far."""

    def __init__(self, api: FastAPI, job_id: str, token: str) -> None:
        self.status = 0
        self.is_open = asyncio.Event()
        self._hangs_up = asyncio.Event()
        path = f"/api/v1/jobs/{job_id}/events"
        headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode())]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
        self.task = asyncio.create_task(api(scope, self._receive, self._send))  # type: ignore[arg-type]

    async def _receive(self) -> dict[str, Any]:
        await self._hangs_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        if message.get("body"):
            self.is_open.set()


def end_session(session: Session, user: User, secret: str) -> None:
    accounts.log_out(session, token=secret)


def revoke_token(session: Session, user: User, secret: str) -> None:
    tokens.revoke(session, actor=user, token_id=tokens.list_tokens(session, actor=user)[0].id)


@pytest.mark.parametrize("end", [end_session, revoke_token])
async def test_it_ends_with_its_session_or_token(
    end: Callable[[Session, User, str], None], api: FastAPI, session: Session, user: User
) -> None:
    spec = make_spec(make_dataset(session, user), make_model(session, user))
    job = jobs.submit(session, actor=user, spec=spec)
    if end is end_session:
        secret = accounts.start_session(session, user=user).token
    else:
        form = TokenCreate(name="script", scope=TokenScope.READ)
        secret = tokens.create(session, actor=user, form=form).secret
    session.commit()
    stream = Stream(api, job.id, secret)
    await asyncio.wait_for(stream.is_open.wait(), 10)
    assert (stream.status, stream.task.done()) == (200, False)
    end(session, user, secret)
    session.commit()
    await asyncio.wait_for(stream.task, 5)
