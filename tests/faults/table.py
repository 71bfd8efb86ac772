"""The table of faults: which tests inject which fault, what was seen, how long it took.

    python -m pytest -p tests.faults.table -m fault --faults-into docs/faults.md tests

A test says what it injects and what must be seen by `@pytest.mark.fault("F1", "what", "seen")`, and what it
has measured by the fixture `saw`. A fault of the list of which no test ran is shown so and fails the run.
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

    def __init__(self, into: Path | None) -> None:
        self._into = into
        self._cases: dict[str, _Case] = {}
        self._is_wanted = into is not None

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
        if self._is_wanted and exitstatus == 0 and self._missing():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._is_wanted:
            return
        lines = self._lines()
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
        if self._into is not None:
            self._into.write_text(_PREFACE.format(**_circumstances()) + "\n".join(lines) + "\n")

    def _missing(self) -> list[str]:
        return [fault for fault in FAULTS if not any(c.fault == fault for c in self._cases.values())]

    def _lines(self) -> list[str]:
        order = list(FAULTS)
        cases = sorted(self._cases.values(), key=lambda case: order.index(case.fault))
        rows = [case.row() for case in cases]
        rows += [_Case(fault, FAULTS[fault], "", verdict="NO TEST RAN").row() for fault in self._missing()]
        return ["| id | fault | what was seen | s | verdict |", "|---|---|---|---|---|", *rows]


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


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FaultTable(config.getoption("--faults-into")), "fault-table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker(_KEY)
        if marker is not None and (len(marker.args) != 3 or marker.args[0] not in FAULTS):
            raise pytest.UsageError(f"{item.nodeid}: fault(id, what, seen), and the id is one of the list's")
