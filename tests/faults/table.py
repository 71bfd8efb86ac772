"""The table of faults: which tests inject which fault, what was seen, how long it took.

    python -m pytest -p tests.faults.table --faults-into FILE -m "fault and not browser" tests
    python -m pytest -p tests.faults.table --faults-into FILE --faults-add -m "fault and browser" tests

See `tests.marked_table` for how a test gets into it.
"""

import pytest

from tests.marked_table import Listing

_FAULTS = {
    "F1": "worker killed",
    "F2": "server killed during a job",
    "F3": "server back after 0, 20, 60 s",
    "F4": "worker ends while the server is down",
    "F5": "shim killed",
    "F6": "machine restarted",
    "F7": "a record names an innocent process",
    "F8": "disk full at a checkpoint, at the final save",
    "F9": "disk full under the database",
    "F10": "the n-th write, sync or rename of a save fails",
    "F11": "another process holds the database",
    "F12": "two users launch at once on one slot",
    "F13": "double click, event replayed, request sent again",
    "F14": "stop: ten times, too late, at awkward moments",
    "F15": "worker frozen or deaf to SIGTERM",
    "F16": "out of memory",
    "F17": "the loss is not a number",
    "F18": "damaged files",
    "F19": "an address that misbehaves",
    "F20": "tab closed, two tabs, asleep",
    "F21": "clock moved by a day",
    "F22": "killed in a migration; new server over an old worker",
    "F23": "delete what is in use",
    "F24": "the Hub is offline or in trouble",
    "F25": "server killed again and again while people work",
    "F26": "a second server on the same data folder",
    "F27": "a worker that logs without end",
    "campaign": "faults drawn at random while people work",
}
_PREFACE = """# Faults: injected, and what was seen

Made by `make faults` ({date}; {cores} cores, {machine}, load {load} at the end). Each row is a test that
anyone can run, the figures are those of this run. Detection within 5 s, adoption within 3, stop within 30.

"""
_LISTING = Listing("fault", _FAULTS, seen="what was seen", preface=_PREFACE)


def pytest_addoption(parser: pytest.Parser) -> None:
    _LISTING.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    _LISTING.configure(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    _LISTING.check(items)
