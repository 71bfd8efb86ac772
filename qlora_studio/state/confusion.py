"""Which classes are taken for which: a job's confusion matrix, ready to show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qlora_studio.state import formats

MAX_CLASSES = 16  # a larger matrix shows those with the most mistakes
_N_WORST = 5


@dataclass(frozen=True)
class Cell:
    """How many clips of the row's class were taken for the column's; `tint` is their share in percent."""

    text: str
    title: str
    tint: str
    is_right: bool


@dataclass(frozen=True)
class ClassLine:
    """A class: its held-out clips and the share of them that was recognised."""

    label: str
    n_clips: str
    recall: str
    cells: list[Cell]


@dataclass(frozen=True)
class Confusion:
    """The matrix and what stands out of it. Empty where there is nothing to show."""

    columns: list[str]
    lines: list[ClassLine]
    worst: list[str]
    hidden: str = ""


NOTHING = Confusion([], [], [])


def confusion_of(report: Mapping[str, Any]) -> Confusion:
    """Return the matrix of a job's report (`classes`, `confusion_matrix`: rows are labels)."""
    classes, matrix = report.get("classes"), report.get("confusion_matrix")
    if not isinstance(classes, list) or not isinstance(matrix, list) or len(classes) != len(matrix):
        return NOTHING
    shown = _most_mistaken(matrix)
    lines = [_line(classes, matrix, row, shown) for row in shown]
    n_hidden = len(classes) - len(shown)
    hidden = (
        f"{formats.count(n_hidden, 'class', 'classes')} with fewer mistakes left out." if n_hidden else ""
    )
    return Confusion([str(classes[c]) for c in shown], lines, _worst(classes, matrix), hidden)


def _most_mistaken(matrix: list[list[int]]) -> list[int]:
    """The classes to show, in their order: all, or those that take part in the most mistakes."""
    size = range(len(matrix))
    if len(matrix) <= MAX_CLASSES:
        return list(size)
    mistakes = [sum(matrix[i]) + sum(row[i] for row in matrix) - 2 * matrix[i][i] for i in size]
    return sorted(sorted(size, key=lambda i: -mistakes[i])[:MAX_CLASSES])


def _line(classes: list[str], matrix: list[list[int]], row: int, shown: list[int]) -> ClassLine:
    total = sum(matrix[row])
    cells = [_cell(classes, matrix[row][column], total, row, column) for column in shown]
    recall = formats.percent(matrix[row][row] / total, 0) if total else "–"
    return ClassLine(str(classes[row]), f"{total:,}", recall, cells)


def _cell(classes: list[str], n: int, total: int, row: int, column: int) -> Cell:
    heard = "recognised" if row == column else f"taken for {classes[column]}"
    title = f"{n:,} of {formats.count(total, 'clip')} of {classes[row]} {heard}"
    return Cell(f"{n:,}" if n else "", title, f"{100 * n / total:.0f}%" if total else "0%", row == column)


def _worst(classes: list[str], matrix: list[list[int]]) -> list[str]:
    size = range(len(matrix))
    pairs = [(matrix[r][c], r, c) for r in size for c in size if r != c and matrix[r][c]]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [
        f"{formats.count(n, 'clip')} of {classes[r]} taken for {classes[c]}" for n, r, c in pairs[:_N_WORST]
    ]
