"""The table of attacks: which tests make which attack on a running server, and what it answered.

    python -m pytest -p tests.security.table --attacks-into FILE -m "attack and not browser" tests
    python -m pytest -p tests.security.table --attacks-into FILE --attacks-add -m "attack and browser" tests

See `tests.marked_table` for how a test gets into it.
"""

import pytest

from tests.marked_table import Listing

_ATTACKS = {
    "S1": "every event handler called by hand: signed out, as a stranger",
    "S2": "framework events and undecorated methods write state",
    "S3": "a stolen client token",
    "S4": "arguments of wrong type, size or number",
    "S5": "a foreign Origin or Host",
    "S6": "floods: events, frames, sockets",
    "H1": "uploads: signed out, endless, in a hundred thousand parts, slow",
    "H2": "hostile file names",
    "H3": "direct addresses of what is another user's",
    "H4": "hostile archives",
    "H5": "pages and playlists that call themselves sounds",
    "U1": "addresses of the server's own network",
    "U2": "other people's buckets with the server's credentials",
    "M1": "weights that run code",
    "M2": "configurations that run code",
    "M3": "damaged or lying weight files",
    "M4": "paths outside the allowed roots",
    "M5": "names that a shell would run",
    "A1": "passwords guessed, victims locked out",
    "A2": "login tells who has an account",
    "A3": "the database file stolen",
    "A4": "old and planted sessions",
    "X1": "markup, escapes and formulas in names, logs and texts",
    "X2": "secrets in logs, results and command lines",
    "Q1": "one user takes all there is",
}
_PREFACE = """# Attacks: tried, and what was answered

Made by `make security` ({date}; {cores} cores, {machine}, load {load} at the end). Each row is a test that
anyone can run; the figures are those of this run. Those in `tests/security` attack a running server.

"""
_LISTING = Listing("attack", _ATTACKS, seen="answer", preface=_PREFACE)


def pytest_addoption(parser: pytest.Parser) -> None:
    _LISTING.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    _LISTING.configure(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    _LISTING.check(items)
