"""A server of its own with the toy worker, and a person at it who has a dataset and a model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from playwright.sync_api import BrowserContext
from sqlmodel import Session, select

from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import User
from scripts.running import Server, sign_in, sign_up
from tests.jobs.workbench import make_dataset, make_model, spec_data


class Desk:
    """A server with the toy worker, and a person with a dataset and a model."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self.api = httpx.Client(
            base_url=f"{server.base}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )
        engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
        with Session(engine) as session:
            user = session.exec(select(User)).one()
            dataset = make_dataset(session, user)
            model = make_model(session, user, data_path=server.data_path)
            self._data = spec_data(dataset, model)
        engine.dispose()

    def launch(self, name: str, steps: int) -> str:
        changes = {"name": name, "optimization": {"max_steps": steps}, "evaluation": {"every_steps": 10}}
        answer = self.api.post("/jobs", json=self._data | changes)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def sweep(self, name: str, axes: dict[str, list[int]], steps: int) -> str:
        spec = self._data | {"name": name, "optimization": {"max_steps": steps}}
        answer = self.api.post("/sweeps", json={"spec": spec, "axes": axes})
        answer.raise_for_status()
        return str(answer.json()["id"])


@contextmanager
def opened(
    own_server: Callable[..., Server], context: BrowserContext, *, step_s: float, **settings: str
) -> Iterator[Desk]:
    """A desk whose person is signed in in this window.

    Args:
        step_s: how long a step of the toy worker takes.
        settings: the server's environment beside that.
    """
    server = own_server(QLORA_STUDIO_WORKER="toy", QLORA_STUDIO_TOY_STEP_S=str(step_s), **settings)
    token = sign_up(server, "ada")
    sign_in(context, server, token)
    desk = Desk(server, token)
    try:
        yield desk
    finally:
        desk.api.close()
