"""The points of a run's curves, so stored that opening them costs the same at ten points and at ten million.

Each key has a folder of append-only files of fixed-size records. `0.bin` holds every point. `k.bin`, for
k = 1, 2, …, holds for each whole run of `4 * 2**k` points the lowest and the highest of them, in order.
A query reads the finest level that fits into the number of points asked for, so every spike is in every view.

A level is always caught up from the one below it, whatever is there: nothing about the levels is kept in
memory or has to survive a crash. Half a record at the end of a file (a crash, a full disk) is cut off before
the next append. Appending is idempotent: a point carries its attempt and event number, and one that is not
newer than the last is passed over. When a resumed attempt goes back some steps, the points of the attempt
before it from there on are dropped, so that each step is there exactly once. Times never go back either: when
the clock is set back, later times are moved on by as much, so that a part can be found by its times.
"""

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

POINT = np.dtype([("seq", "<i8"), ("step", "<i8"), ("time", "<f8"), ("value", "<f8")])
MAX_POINTS = 2_000
_FIRST_BUCKET = 8  # points in one bucket of level 1
_ATTEMPT_BITS = 40

Points = npt.NDArray[np.void]


@dataclass(frozen=True)
class Series:
    """Part of one curve: steps, seconds since the epoch, and values (NaN where it was not a number)."""

    step: list[int]
    time: list[float]
    value: list[float]


class Records:
    """The whole records of one file, read when asked for.

    Read by position and not mapped: a mapped file that is cut (a resumed attempt goes back) ends the process
    that looks at it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._n = path.stat().st_size // POINT.itemsize
        except FileNotFoundError:
            self._n = 0

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, part: slice) -> Points:
        first, end, _ = part.indices(self._n)
        if end <= first:
            return np.empty(0, POINT)
        return np.fromfile(self._path, POINT, count=end - first, offset=first * POINT.itemsize)

    def last(self) -> Points:
        """The newest record, as an array of one (of none when there is none)."""
        return self[max(0, self._n - 1) : self._n]


def sequence(attempt: int, seq: int) -> int:
    """One number that orders the events of all attempts of a job."""
    return attempt << _ATTEMPT_BITS | seq


@dataclass
class _Tail:
    """What the writer must know of a curve: how many points, the newest one's order, step and time.

    `shift_s` is by how much times are moved on since the clock was set back.
    """

    n: int
    seq: int
    step: int
    time: float
    shift_s: float = 0.0


class MetricsWriter:
    """Appends points to a run's curves. One writer at a time: the supervisor."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tails: dict[str, _Tail] = {}

    def append(self, points: Mapping[str, Sequence[tuple[int, int, float, float]]]) -> None:
        """Append points of (sequence, step, time, value) by key, oldest first.

        Raises:
            OSError: the disk is full; whole records that were written stay, and appending again is safe.
        """
        for key, rows in points.items():
            tail = self._tails.pop(key, None) or self._open_tail(key)  # not kept when what follows fails
            fresh = [row for row in rows if row[0] > tail.seq]
            if fresh:
                tail = self._append(_key_folder(self._folder, key), tail, np.array(fresh, dtype=POINT))
            self._tails[key] = tail

    def _open_tail(self, key: str) -> _Tail:
        folder = _key_folder(self._folder, key)
        folder.mkdir(parents=True, exist_ok=True)
        n = _repair(folder / "0.bin")
        if not n:
            return _Tail(0, -1, -1, -math.inf)
        return _tail_after(n, Records(folder / "0.bin").last()[0], 0.0)

    @staticmethod
    def _append(folder: Path, tail: _Tail, new: Points) -> _Tail:
        n_old = _rewind(folder, tail, new)
        shift_s = _move_on(new, tail)
        with (folder / "0.bin").open("ab") as file:
            file.write(new.tobytes())
        n = n_old + len(new)
        if n // _FIRST_BUCKET > n_old // _FIRST_BUCKET:
            _catch_up(folder, n)
        return _tail_after(n, new[-1], shift_s)


def _tail_after(n: int, newest: np.void, shift_s: float) -> _Tail:
    return _Tail(n, int(newest["seq"]), int(newest["step"]), float(newest["time"]), shift_s)


def _move_on(new: Points, tail: _Tail) -> float:
    """Move the times of new points on so that none is before the one before it; return by how much now."""
    times = new["time"] + tail.shift_s
    before = np.concatenate([[tail.time], times[:-1]])
    back = np.maximum(0.0, np.where(np.isfinite(before), before - times, 0.0))
    if not back.any():
        new["time"] = times
        return tail.shift_s
    moved = np.cumsum(back)
    new["time"] = times + moved
    return tail.shift_s + float(moved[-1])


def _repair(path: Path) -> int:
    """Cut off half a record; return the number of whole ones."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    whole, rest = divmod(size, POINT.itemsize)
    if rest:
        _truncate(path, whole * POINT.itemsize)
    return whole


def _rewind(folder: Path, tail: _Tail, new: Points) -> int:
    """Drop the points that a newer attempt takes again; return how many stay."""
    first_step = int(new[0]["step"])
    is_newer_attempt = int(new[0]["seq"]) >> _ATTEMPT_BITS > tail.seq >> _ATTEMPT_BITS
    if not tail.n or not is_newer_attempt or tail.step < first_step or _is_by_time(folder):
        return tail.n
    n_kept = _first_at(Records(folder / "0.bin"), "step", first_step)
    for level in _levels(folder):
        records = n_kept if level == 0 else 2 * (n_kept // _bucket(level))
        path = folder / f"{level}.bin"
        if path.stat().st_size > records * POINT.itemsize:
            _truncate(path, records * POINT.itemsize)
    return n_kept


def _catch_up(folder: Path, n_points: int) -> None:
    """Bring every level to the number of buckets that `n_points` points fill."""
    level = 1
    while n_points >= _bucket(level):
        path = folder / f"{level}.bin"
        have = _repair(path) // 2
        _truncate(path, have * 2 * POINT.itemsize)
        want = n_points // _bucket(level)
        per_bucket = _FIRST_BUCKET if level == 1 else 4  # records of the level below
        below = Records(folder / f"{level - 1}.bin")[have * per_bucket : want * per_bucket]
        if len(below):
            with path.open("ab") as file:
                file.write(_extremes(below.reshape(-1, per_bucket)).tobytes())
        level += 1


def _extremes(rows: Points) -> Points:
    """Of each row of records, the lowest and the highest by value, in their own order."""
    values = rows["value"]
    low = np.argmin(np.where(np.isnan(values), np.inf, values), axis=1)
    high = np.argmax(np.where(np.isnan(values), -np.inf, values), axis=1)
    picked = np.sort(np.stack([low, high], axis=1), axis=1)
    return np.take_along_axis(rows, picked, axis=1).reshape(-1)


# -- reading -----------------------------------------------------------------------------------------


def keys(folder: Path) -> list[str]:
    """The curves that the run has, sorted."""
    if not folder.is_dir():
        return []
    return sorted(unquote(p.name) for p in folder.iterdir() if (p / "0.bin").exists())


def query(
    folder: Path,
    wanted: Iterable[str],
    *,
    from_step: int | None = None,
    to_step: int | None = None,
    from_time: float | None = None,
    to_time: float | None = None,
    max_points: int = MAX_POINTS,
) -> dict[str, Series]:
    """Read parts of curves, each with at most `max_points` points and with its lowest and highest kept.

    Args:
        folder: the run's `metrics` folder.
        wanted: keys; those without a curve are left out of the answer.
        from_step: first step, included. Machine curves run over time and have no first and last step.
        to_step: last step, included.
        from_time: first time in seconds since the epoch, included.
        to_time: last time, included.
        max_points: points for each curve, 16 at least.
    """
    found: dict[str, Series] = {}
    steps, times = _Range("step", from_step, to_step), _Range("time", from_time, to_time)
    for key in wanted:
        series = _query_one(_key_folder(folder, key), steps, times, max(16, max_points))
        if series is not None:
            found[key] = series
    return found


def last_value(folder: Path, key: str) -> tuple[int, float] | None:
    """The newest (step, value) of a curve."""
    newest = Records(_key_folder(folder, key) / "0.bin").last()
    return (int(newest["step"][0]), float(newest["value"][0])) if len(newest) else None


def recent_interval_s(folder: Path, key: str, n: int = 10) -> float | None:
    """The longest time between two of the newest `n` points of a curve; None with fewer than two."""
    records = Records(_key_folder(folder, key) / "0.bin")
    times = records[max(0, len(records) - n) : len(records)]["time"]
    return float(np.diff(times).max()) if len(times) > 1 else None


def read_all(folder: Path, key: str) -> Records:
    """Every point of a curve; slices of it are read when they are taken."""
    return Records(_key_folder(folder, key) / "0.bin")


def remove(folder: Path) -> None:
    """Delete all curves of a run."""
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Range:
    """Part of one axis; both ends are included, None is open."""

    axis: str
    low: float | None
    high: float | None

    def of(self, points: Records) -> tuple[int, int]:
        """Index of the first point inside and of the first after it."""
        first = 0 if self.low is None else _first_at(points, self.axis, self.low)
        end = len(points) if self.high is None else _first_at(points, self.axis, self.high, after=True)
        return first, end


def _query_one(folder: Path, steps: _Range, times: _Range, max_points: int) -> Series | None:
    points = Records(folder / "0.bin")
    if not len(points):
        return None
    first, end = times.of(points)
    if not _is_by_time(folder):
        first_step, end_step = steps.of(points)
        first, end = max(first, first_step), min(end, end_step)
    picked = _thin(folder, points, first, max(first, end), max_points)
    return Series(picked["step"].tolist(), picked["time"].tolist(), picked["value"].tolist())


def _thin(folder: Path, points: Records, first: int, end: int, max_points: int) -> Points:
    """Points `first` to `end`, at most `max_points`: whole buckets of a level and two ragged edges, and the
    first and the last point themselves: where a curve begins, and where it ended or stopped being a number.
    """
    if end - first <= max_points:
        return points[first:end]
    level = 1
    while 2 * ((end - first) // _bucket(level) + 2) > max_points - 2:
        level += 1
    size = _bucket(level)
    buckets = Records(folder / f"{level}.bin")
    from_bucket = math.ceil(first / size)
    to_bucket = max(from_bucket, min(end // size, len(buckets) // 2))
    parts = [
        _edge(points[first : from_bucket * size]),
        buckets[2 * from_bucket : 2 * to_bucket],
        *(_edge(points[i : min(i + size, end)]) for i in range(to_bucket * size, end, size)),
    ]
    thinned = np.concatenate(parts)
    ends = points[first : first + 1], points[end - 1 : end]
    missing = [
        one[one["seq"] != kept["seq"]] for one, kept in zip(ends, (thinned[0], thinned[-1]), strict=True)
    ]
    return np.concatenate([missing[0], thinned, missing[1]])


def _edge(points: Points) -> Points:
    return _extremes(points.reshape(1, -1)) if len(points) > 2 else points


def _first_at(points: Records, axis: str, bound: float, *, after: bool = False) -> int:
    """Index of the first point at or after `bound` (only after it, if so wished), by halving."""
    low, high = 0, len(points)
    while low < high:
        middle = (low + high) // 2
        value = points[middle : middle + 1][axis][0]
        if value < bound or (after and value == bound):
            low = middle + 1
        else:
            high = middle
    return low


def _bucket(level: int) -> int:
    return _FIRST_BUCKET << (level - 1)


def _levels(folder: Path) -> list[int]:
    return sorted(int(p.stem) for p in folder.glob("*.bin"))


def _truncate(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.truncate(size)


def _key_folder(folder: Path, key: str) -> Path:
    return folder / quote(key[:100], safe="").replace(".", "%2E")


SYSTEM_KEYS = frozenset(("cpu_percent", "rss_bytes", "gpu_percent", "gpu_memory_bytes", "disk_free_bytes"))


def _is_by_time(folder: Path) -> bool:
    """Machine curves run over time, not over steps: a resumed attempt never replaces their points."""
    return unquote(folder.name) in SYSTEM_KEYS
