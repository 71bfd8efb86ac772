"""One server and one Chromium for all browser tests; each test has its own account and its own window."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from scripts.running import Server, chromium, sign_in, sign_up, start_server

_numbers = itertools.count(1)
_BEEPING_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
expect.set_options(timeout=20_000)  # the machine may be training beside the tests


@dataclass
class Person:
    """An account of its own, signed in through the REST API."""

    name: str
    token: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = start_server(tmp_path_factory.mktemp("server"))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium(*_BEEPING_MICROPHONE) as opened:
        yield opened


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A window of nobody."""
    opened = browser.new_context(viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


@pytest.fixture
def person(server: Server) -> Person:
    name = f"person{next(_numbers)}"
    return Person(name, sign_up(server, name))


@pytest.fixture
def page(context: BrowserContext, server: Server, person: Person) -> Page:
    """A page whose window is signed in as `person`; go to `server.base + path`."""
    sign_in(context, server, person.token)
    return context.new_page()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start servers that this test may kill."""
    started: list[Server] = []
    folder = tmp_path_factory.mktemp("own")

    def start(**settings: int) -> Server:
        started.append(start_server(folder, **settings))
        return started[-1]

    yield start
    for server in started:
        server.stop()
