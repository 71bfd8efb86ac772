"""P10: lists of datasets and of clips, and an edit, at 100,000 rows against 1,000, through the service.

    python -m benchmarks.p10_long_lists

Each request opens a session, asks the service for a page and writes it as the JSON that the REST API answers.
Both sizes are asked the same in turn, searches with other words each round. How often a word comes is counted
once for each content; what that costs for one that is everywhere is told by itself, outside the ratio. Ends
with 1 above the floor.
"""

import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert
from sqlmodel import Session, col, select

from qlora_studio.api.clips import ClipPage, ClipPublic
from qlora_studio.api.datasets import ClipFilter, DatasetFilter, DatasetPage, DatasetPublic
from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Split, Task
from qlora_studio.core.ids import new_id
from qlora_studio.db import migrations
from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import Clip, Dataset, User
from qlora_studio.ingest import totals
from qlora_studio.services import clips, datasets, reports

FLOOR = 2.0
AIM = 1.1
SMALL, LARGE = 1_000, 100_000
ROUNDS = 15
_WORDS = 5_000
_AT_ONCE = 5_000

DATASET_REQUESTS: dict[str, list[dict[str, Any]]] = {
    "list": [{}, {"page": 7}, {"status": "ready"}, {"task": "text-to-audio"}],
    "sort": [
        {"sort": sign + name}
        for name in ("name", "n_clips", "duration_s", "size_bytes", "created_at", "status")
        for sign in ("", "-")
    ],
    "search": [{"query": q} for q in ("{a}", "{b}", "{c}", "{a} 1", "nothing like it", "W0000")],
}
CLIP_REQUESTS: dict[str, list[dict[str, Any]]] = {
    "list": [{}, {"page": 7}, {"split": "validation"}, {"status": "excluded"}, {"label": "label 3"}],
    "sort": [
        {"sort": sign + name}
        for name in ("position", "filename", "duration_s", "text", "label", "split", "status", "loudness_db")
        for sign in ("", "-")
    ],
    "search": [{"query": q} for q in ("{a}", "{b}", "{c}", "{a}.wav", "nothing like it", "W0000")],
}
EDITS: dict[str, list[dict[str, Any]]] = {"edit": [{"position": n} for n in (0, 500, 900, 901, 902)]}


class Shelf:
    """A database of its own with `n` datasets of one person and `n` clips in one of them."""

    def __init__(self, folder: Path, n: int) -> None:
        self.engine: Engine = make_engine(f"sqlite:///{folder / f'{n}.db'}")
        migrations.upgrade(self.engine)
        self.user = User(username="u", username_key="u", email="e", email_key="e", password_hash="!")
        random.seed(n)
        with Session(self.engine, expire_on_commit=False) as session:
            session.add(self.user)
            session.commit()
            self.dataset_id = new_id("ds")
            _fill(session, Dataset, _datasets(n, self.user.id, self.dataset_id))
            _fill(session, Clip, _clips(n, self.dataset_id))
            totals.refresh(session, session.get_one(Dataset, self.dataset_id))
            session.commit()

    def list_datasets(self, **wanted: Any) -> int:
        """One request; returns the bytes of the answer."""
        asked = DatasetFilter.model_validate(wanted)
        with Session(self.engine, expire_on_commit=False) as session:
            found, total = datasets.list_datasets(session, actor=self.user, **asked.model_dump())
        page = DatasetPage.of([DatasetPublic.of(dataset) for dataset in found], total, asked)
        return len(page.model_dump_json())

    def list_clips(self, **wanted: Any) -> int:
        """One request; returns the bytes of the answer."""
        asked = ClipFilter.model_validate(wanted)
        with Session(self.engine, expire_on_commit=False) as session:
            found, total = clips.list_clips(
                session,
                actor=self.user,
                dataset_id=self.dataset_id,
                **asked.model_dump(),
            )
            said = reports.list_findings(session, clip_ids=[clip.id for clip in found])
        page = ClipPage.of([ClipPublic.of(clip, said.get(clip.id, [])) for clip in found], total, asked)
        return len(page.model_dump_json())

    def edit_clips(self, *, position: int) -> int:
        """Correct the words of one clip: counts, hash, version and index included. Returns the version."""
        with Session(self.engine.execution_options(studio_write=True)) as session:
            mine = (col(Clip.dataset_id) == self.dataset_id, col(Clip.position) == position)
            clip_id = session.exec(select(Clip.id).where(*mine)).one()
            form = clips.ClipUpdate(text=_words(9))
            clips.update(session, actor=self.user, clip_id=clip_id, form=form)
            session.commit()
            return session.get_one(Dataset, self.dataset_id).version


def _words(n: int) -> str:
    """Words as often as in speech: the second half as often as the first, and so on (Zipf)."""
    return " ".join(f"w{min(int(random.paretovariate(0.6)), _WORDS) - 1:04d}" for _ in range(n))


def _fill(session: Session, table: Any, rows: Iterator[dict[str, Any]]) -> None:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _AT_ONCE:
            session.connection().execute(insert(table), batch)
            batch = []
    if batch:
        session.connection().execute(insert(table), batch)


def _plain(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in type(item).model_fields}


def _datasets(n: int, owner_id: str, first_id: str) -> Iterator[dict[str, Any]]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(n):
        at = start + timedelta(seconds=number * 60)
        dataset = Dataset(
            id=first_id if number == 0 else new_id("ds"),
            owner_id=owner_id,
            name=f"{_words(2)} {number}",
            description=_words(8),
            task=random.choice([Task.SPEECH_TO_TEXT, Task.SPEECH_TO_TEXT, Task.TEXT_TO_AUDIO]),
            status=random.choice([DatasetStatus.READY] * 9 + [DatasetStatus.ERROR]),
            n_clips=random.randrange(10_000),
            content_hash=f"{number:064x}",
            duration_s=random.random() * 1e5,
            size_bytes=random.randrange(10**9),
            version=1,
            created_at=at,
            updated_at=at,
        )
        if number == 0:
            dataset.n_clips, dataset.n_excluded = n - n // 50, n // 50
            dataset.status = DatasetStatus.READY
        yield _plain(dataset)


def _clips(n: int, dataset_id: str) -> Iterator[dict[str, Any]]:
    for number in range(n):
        yield _plain(
            Clip(
                dataset_id=dataset_id,
                position=number,
                filename=f"spk{random.randrange(90):02d}/{number:06d}-{_words(1)}.wav",
                sha256=f"{number:064x}",
                size_bytes=64_000,
                duration_s=random.lognormvariate(0.7, 0.5),
                sample_rate=16_000,
                channels=1,
                loudness_db=round(random.gauss(-22, 4), 2),
                text=_words(9),
                label=f"label {random.randrange(20)}",
                split=random.choice([Split.TRAIN] * 8 + [Split.VALIDATION, Split.TEST]),
                status=ClipStatus.EXCLUDED if number < n // 50 else ClipStatus.OK,
                peaks=random.randbytes(1600),
                fingerprint=random.randbytes(300),
            )
        )


def _measure(
    ask: dict[int, Callable[..., int]], requests: dict[str, list[dict[str, Any]]]
) -> dict[str, dict[int, list[float]]]:
    """Milliseconds of each request by kind and size, the sizes in turn."""
    times: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(ROUNDS + 1):
        words = _some_words(number)
        for kind, several in requests.items():
            for asked in several:
                request = {k: v.format(**words) if isinstance(v, str) else v for k, v in asked.items()}
                for size in ask if number % 2 else reversed(ask):
                    started = time.perf_counter()
                    ask[size](**request)
                    if number:  # the first round warms the caches of both
                        times[kind][size].append((time.perf_counter() - started) * 1000)
    return times


def _some_words(seed: int) -> dict[str, str]:
    """Three words that are looked for in one round, from one in a few hundred clips to hardly any."""
    ranks = random.Random(seed)
    return {name: f"w{int(50 * 100 ** ranks.random()) % _WORDS:04d}" for name in "abc"}


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def main() -> int:
    """Print the table; 0 when each ratio is within the floor."""
    with tempfile.TemporaryDirectory() as folder:
        shelves = {n: Shelf(Path(folder), n) for n in (SMALL, LARGE)}
        print(f"{ROUNDS} rounds; milliseconds a request: service, rows, JSON; p95 (median)")
        print(f"{'':>16} {f'{SMALL:,} rows':>18} {f'{LARGE:,} rows':>18} {'p95 ratio':>10}")
        worst = 0.0
        lists = (("datasets", "list_datasets", DATASET_REQUESTS), ("clips", "list_clips", CLIP_REQUESTS))
        for name, method, requests in (*lists, ("clips", "edit_clips", EDITS)):
            ask = {n: getattr(shelf, method) for n, shelf in shelves.items()}
            for kind, by_size in _measure(ask, requests).items():
                shown = [f"{_p95(by_size[n]):.2f} ({statistics.median(by_size[n]):.2f})" for n in shelves]
                ratio = _p95(by_size[LARGE]) / _p95(by_size[SMALL])
                worst = max(worst, ratio)
                print(f"{name + ' ' + kind:>16} {shown[0]:>18} {shown[1]:>18} {ratio:>10.2f}")
        for n, shelf in shelves.items():
            started = time.perf_counter()
            shelf.list_clips(query="0000")
            first_ms = (time.perf_counter() - started) * 1000
            print(f"words of nearly all of {n:,} clips, counted for the first time: {first_ms:.0f} ms")
            shelf.engine.dispose()
    print(f"worst ratio {worst:.2f} (floor {FLOOR}, aim {AIM})")
    return 0 if worst <= FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())
