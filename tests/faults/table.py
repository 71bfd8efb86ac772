"""The table of faults: which tests inject which fault, what was seen, how long it took.

    python -m pytest -p tests.faults.table --faults-into FILE -m "fault and not browser" tests
    python -m pytest -p tests.faults.table --faults-into FILE --faults-add -m "fault and browser" tests

A test says what it injects and what must be seen by `@pytest.mark.fault("F1", "what", "seen")`, and what it
has measured by the fixture `saw`. The second run adds its rows to those of the first; a fault of the list of
which no test ran in either is shown so and fails it.
"""

import os
import platform
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

FAULTS = {
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
_KEY = "fault"
_NO_TEST = "NO TEST RAN"


@dataclass
class _Case:
    """One test of one fault."""

    fault: str
    what: str
    seen: str
    measured: list[str] = field(default_factory=list)
    seconds: float = 0.0
    verdict: str = ""

    def row(self) -> str:
        seen = "; ".join([self.seen, *self.measured])
        cells = (self.fault, self.what, seen, f"{self.seconds:.1f}", self.verdict)
        return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


class FaultTable:
    """Gathers the marked tests' outcomes and prints them at the end."""

    def __init__(self, into: Path | None, *, is_added: bool) -> None:
        self._into = into
        self._is_added = is_added
        self._cases: dict[str, _Case] = {}
        self._rows_before = _rows_of(into) if into is not None and is_added else []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if marker := item.get_closest_marker(_KEY):
            report.user_properties.append((_KEY, list(marker.args)))  # also from another process
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        marks = [value for name, value in report.user_properties if name == _KEY]
        if not marks:
            return
        fault, what, seen = cast(list[str], marks[0])
        case = self._cases.setdefault(report.nodeid, _Case(fault, what, seen))
        case.seconds += report.duration
        case.measured = [str(value) for name, value in report.user_properties if name == "saw"]
        if report.failed:
            case.verdict = "FAILED"
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            case.verdict = f"not run: {reason.removeprefix('Skipped: ')}"
        elif report.when == "call":
            case.verdict = case.verdict or "held"

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._is_added and exitstatus == 0 and self._missing():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._into is None:
            return
        lines = self._lines()
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
        self._into.write_text(_PREFACE.format(**_circumstances()) + "\n".join(lines) + "\n")

    def _missing(self) -> list[str]:
        seen = {case.fault for case in self._cases.values()} | {_id_of(row) for row in self._rows_before}
        return [fault for fault in FAULTS if fault not in seen]

    def _lines(self) -> list[str]:
        rows = [*self._rows_before, *(case.row() for case in self._cases.values())]
        rows += [_Case(fault, FAULTS[fault], "", verdict=_NO_TEST).row() for fault in self._missing()]
        rows.sort(key=lambda row: list(FAULTS).index(_id_of(row)))
        return ["| id | fault | what was seen | s | verdict |", "|---|---|---|---|---|", *rows]


def _rows_of(path: Path) -> list[str]:
    """The rows of tests that an earlier run has kept."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        line for line in lines if line.startswith("| ") and _id_of(line) in FAULTS and _NO_TEST not in line
    ]


def _id_of(row: str) -> str:
    return row.split("|")[1].strip()


_PREFACE = """# Faults: injected, and what was seen

Made by `make faults` ({date}; {cores} cores, {machine}, load {load} at the end). Each row is a test that
anyone can run, the figures are those of this run. Detection within 5 s, adoption within 3, stop within 30.

"""


def _circumstances() -> dict[str, str]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": str(os.cpu_count()),
        "machine": platform.machine(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-into", type=Path, default=None, help="write the table of faults to this file")
    parser.addoption("--faults-add", action="store_true", help="keep the rows that are there already")


def pytest_configure(config: pytest.Config) -> None:
    table = FaultTable(config.getoption("--faults-into"), is_added=config.getoption("--faults-add"))
    config.pluginmanager.register(table, "fault-table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker(_KEY)
        if marker is not None and (len(marker.args) != 3 or marker.args[0] not in FAULTS):
            raise pytest.UsageError(f"{item.nodeid}: fault(id, what, seen), and the id is one of the list's")
