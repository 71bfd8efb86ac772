"""A table of what marked tests did and saw, for a list of which nothing may be forgotten.

A test says which case of the list it is by `@pytest.mark.<mark>("id", "what", "seen")`, and what it has
measured by the fixture `saw`. A plugin of pytest makes one `Listing` and is taken in with `-p`; it then has
the options `--<mark>s-into FILE`, and `--<mark>s-add` for a second run, which adds its rows to those of the
first. A case of the list of which no test ran in either is shown so and fails the second run.
"""

import os
import platform
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

_NO_TEST = "NO TEST RAN"


@dataclass
class _Case:
    """One test of one case of the list."""

    id: str
    what: str
    seen: str
    measured: list[str] = field(default_factory=list)
    seconds: float = 0.0
    verdict: str = ""

    def row(self) -> str:
        seen = "; ".join([self.seen, *self.measured])
        cells = (self.id, self.what, seen, f"{self.seconds:.1f}", self.verdict)
        return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


@dataclass(frozen=True)
class Listing:
    """A list of cases: `mark` is the marker's name, `cases` tells each id's meaning in order.

    `seen` is the head of the column of answers. `preface` stands above the table in the file; `{date}`,
    `{cores}`, `{machine}` and `{load}` are filled in.
    """

    mark: str
    cases: Mapping[str, str]
    seen: str
    preface: str

    def add_options(self, parser: pytest.Parser) -> None:
        """Offer the options; to be called by the plugin's hook of that name."""
        parser.addoption(f"--{self.mark}s-into", type=Path, default=None, help="write the table to this file")
        parser.addoption(f"--{self.mark}s-add", action="store_true", help="keep the rows that are there")

    def configure(self, config: pytest.Config) -> None:
        """Begin the table; to be called by the plugin's hook of that name."""
        into, is_added = config.getoption(f"--{self.mark}s-into"), config.getoption(f"--{self.mark}s-add")
        config.pluginmanager.register(_Table(self, into, is_added=is_added), f"{self.mark}-table")

    def check(self, items: list[pytest.Item]) -> None:
        """Refuse marks that the table could not show.

        Raises:
            pytest.UsageError: arguments are missing, or the id is not one of the list's.
        """
        for item in items:
            for marker in item.iter_markers(self.mark):
                if len(marker.args) != 3 or marker.args[0] not in self.cases:
                    expected = f"{self.mark}(id, what, {self.seen}), and the id is one of the list's"
                    raise pytest.UsageError(f"{item.nodeid}: {expected}")


class _Table:
    """Gathers the marked tests' outcomes and prints them at the end."""

    def __init__(self, listing: Listing, into: Path | None, *, is_added: bool) -> None:
        self._listing = listing
        self._into = into
        self._is_added = is_added
        self._cases: dict[tuple[str, str, str], _Case] = {}
        self._rows_before = self._kept_rows() if is_added else []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        for marker in item.iter_markers(self._listing.mark):
            report.user_properties.append((self._listing.mark, list(marker.args)))  # from any process
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        marks = [value for name, value in report.user_properties if name == self._listing.mark]
        for case_id, what, seen in cast(list[list[str]], marks):
            case = self._cases.setdefault((report.nodeid, case_id, what), _Case(case_id, what, seen))
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
        terminalreporter.section(f"{self._listing.mark}s")
        for line in lines:
            terminalreporter.write_line(line)
        preface = self._listing.preface.format(**_circumstances())
        self._into.write_text(preface + "\n".join(lines) + "\n")

    def _missing(self) -> list[str]:
        seen = {case.id for case in self._cases.values()} | {_id_of(row) for row in self._rows_before}
        return [case_id for case_id in self._listing.cases if case_id not in seen]

    def _lines(self) -> list[str]:
        cases = self._listing.cases
        rows = [*self._rows_before, *(case.row() for case in self._cases.values())]
        rows += [_Case(case_id, cases[case_id], "", verdict=_NO_TEST).row() for case_id in self._missing()]
        rows.sort(key=lambda row: list(cases).index(_id_of(row)))
        head = f"| id | {self._listing.mark} | {self._listing.seen} | s | verdict |"
        return [head, "|---|---|---|---|---|", *rows]

    def _kept_rows(self) -> list[str]:
        """The rows of tests that an earlier run has kept."""
        lines = self._into.read_text().splitlines() if self._into and self._into.exists() else []
        rows = [line for line in lines if line.startswith("| ") and _NO_TEST not in line]
        return [row for row in rows if _id_of(row) in self._listing.cases]


def _id_of(row: str) -> str:
    return row.split("|")[1].strip()


def _circumstances() -> dict[str, str]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": str(os.cpu_count()),
        "machine": platform.machine(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
