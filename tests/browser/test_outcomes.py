"""In a real browser: an adapter is pushed to a Hub on loopback, and a job's files are taken along."""

import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import BrowserContext, expect
from sqlmodel import Session, select

from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import Adapter, User
from qlora_studio.jobs.events import EventReader
from qlora_studio.jobs.tensorboard import EventFile
from qlora_studio.storage import layout
from scripts.running import Server, axe_violations, sign_in, sign_up, watch_console
from tests.browser.test_adapters import _look
from tests.services.hub import Hub, hub
from tests.services.outcomes import make_adapter, make_finished_job
from tests.services.test_pushes import ACCOUNT, TOKEN

__all__ = ["hub"]
pytestmark = pytest.mark.browser


def make_outcomes(server: Server, monkeypatch: pytest.MonkeyPatch) -> Adapter:
    """A finished job and its adapter in the server's data folder."""
    monkeypatch.setattr(layout, "get_settings", lambda: SimpleNamespace(data_path=server.data_path))
    engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
    with Session(engine, expire_on_commit=False) as session:
        owner = session.exec(select(User)).one()
        job = make_finished_job(session, owner)
        adapter = make_adapter(session, owner, job)
        reader = EventReader(layout.attempt_path(job.id, 1) / "events.jsonl")
        EventFile(job.id, 1).take(reader.read(), offset=reader.offset)
    engine.dispose()
    return adapter


def test_an_adapter_is_pushed_and_a_job_is_taken_along(
    hub: type[Hub],
    own_server: Callable[..., Server],
    context: BrowserContext,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    hub.accounts = {TOKEN: ACCOUNT}
    server = own_server()
    sign_in(context, server, sign_up(server))
    adapter = make_outcomes(server, monkeypatch)
    page = context.new_page()
    problems = watch_console(page)
    page.goto(f"{server.base}/adapters/{adapter.id}")
    card = page.locator("#push")
    expect(card).to_contain_text("Not pushed yet")
    card.get_by_role("button", name="Push to the Hub").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Repository")).to_have_value("prompts")
    dialog.get_by_role("button", name="Push", exact=True).click()
    expect(dialog.get_by_text("A token is one word")).to_be_visible()
    dialog.get_by_label("New token").fill("hf_wrongwrongwrongwrong")
    assert axe_violations(page) == []
    _look(page, "push-dialog")
    dialog.get_by_role("button", name="Push", exact=True).dblclick()
    expect(card).to_contain_text("does not accept this token")
    expect(card.get_by_role("listitem")).to_have_count(1)
    card.get_by_role("button", name="Take off the list").click()
    expect(card).to_contain_text("Not pushed yet")

    hub.hold = threading.Event()
    card.get_by_role("button", name="Push to the Hub").click()
    dialog.get_by_label("Token", exact=True).select_option("A new token")
    dialog.get_by_label("New token").fill(TOKEN)
    dialog.get_by_role("button", name="Push", exact=True).click()
    expect(card.get_by_role("button", name="Cancel")).to_be_visible()
    _look(page, "push-running")
    hub.hold.set()
    expect(card.get_by_role("link", name="anna/prompts")).to_be_visible()
    expect(card).to_contain_text("Succeeded")
    assert hub.private == {"anna/prompts": True}
    assert axe_violations(page) == []
    _look(page, "pushed")

    page.goto(f"{server.base}/training/{adapter.job_id}?tab=config")
    with page.expect_download() as download:
        page.get_by_role("link", name="TensorBoard files").click()
    download.value.save_as(tmp_path / "tensorboard.zip")
    assert len(zipfile.ZipFile(tmp_path / "tensorboard.zip").namelist()) == 1
    expect(page.get_by_role("link", name="Results with the merged model")).to_have_count(0)
    expect(page.get_by_role("link", name="Push to the Hub")).to_have_attribute(
        "href", f"/adapters/{adapter.id}#push"
    )
    assert axe_violations(page) == []
    _look(page, "taken-along")
    assert TOKEN not in (server.data_path / "server.log").read_text()
    assert problems == []
