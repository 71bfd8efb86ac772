"""P10: generations, feedback, ratings and pairs, at a million ratings of 100,000 takes and at a hundredth.

    python -m benchmarks.p10_feedback

Each request opens a session, asks the services and writes what the REST API answers as JSON. Both sizes are
asked the same in turn. Ends with 1 above the floor.
"""

import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert
from sqlmodel import Session

from qlora_studio.api.generations import GenerationFilter, GenerationPage
from qlora_studio.contracts.enums import GenerationStatus, Preference
from qlora_studio.db import migrations
from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import (
    Favorite,
    Generation,
    GenerationTag,
    GenerationTally,
    PromptTally,
    Rating,
    RatingTally,
    Take,
    TakeTally,
    User,
)
from qlora_studio.services import (
    generation_lists,
    generations,
    marks,
    offers,
    ratings,
    sound_desk,
    tallies,
    votes,
)
from qlora_studio.services.generation_schemas import GenerationPublic
from qlora_studio.services.rating_schemas import RatingPublic, RatingPut
from qlora_studio.services.vote_schemas import VotePublic, VotePut

FLOOR = 2.0
AIM = 1.1
SMALL, LARGE = 1_000, 100_000  # takes
TAKES, RATERS, CRITERIA = 4, 2, ("overall", "prompt", "sound", "ending", "noise")
ROUNDS = 15
_AT_ONCE = 5_000
_START = datetime(2026, 1, 1, tzinfo=UTC)
_NOW = {"created_at": _START}

REQUESTS: dict[str, list[dict[str, Any]]] = {
    "list": [{}, {"page": 7}, {"status": "succeeded"}, {"model_id": "mod_1"}, {"status": "failed"}],
    "sort": [{"sort": sign + name} for name in ("created_at", "status") for sign in ("", "-")],
    "search": [{"query": text} for text in ("text 7", "text 99", "nothing like it", "TEXT")],
    "rated": [{"rated": True}, {"rated": False}, {"rated": False, "model_id": "mod_1"}],
    "favorite": [{"favorite": True}, {"favorite": True, "page": 2}],
    "tag": [{"tag": "often"}, {"tag": "seldom"}, {"tag": "never"}, {"tag": "often", "model_id": "mod_1"}],
    "tests": [{"from_tests": True}, {"from_tests": True, "query": "text"}],
    "feedback": [{}, {"model_id": "mod_1"}],
    "studio": [{}, {}],
    "rate": [{"number": n} for n in (0, 100, 200, 201)],
    "pair": [{}, {}],
}


class Shelf:
    """A database of its own with `n` takes of one person, each rated by two people by five criteria."""

    def __init__(self, folder: Path, n: int) -> None:
        self.engine: Engine = make_engine(f"sqlite:///{folder / f'{n}.db'}")
        migrations.upgrade(self.engine)
        random.seed(n)
        self.people = [
            User(username=name, username_key=name, email=name, email_key=name, password_hash="!")
            for name in "ab"[:RATERS]
        ]
        self.take_ids: list[str] = []
        with Session(self.engine, expire_on_commit=False) as session:
            session.add_all(self.people)
            session.commit()
            self._fill(session, n)
            session.commit()

    def _fill(self, session: Session, n: int) -> None:
        texts: Counter[tuple[str, str]] = Counter()
        means: Counter[tuple[str, float]] = Counter()
        statuses: Counter[tuple[str, GenerationStatus]] = Counter()
        stars_of: Counter[tuple[str, str, int]] = Counter()
        owner_id = self.people[0].id
        kinds = (Generation, Take, Rating, GenerationTag, Favorite)
        rows: dict[Any, list[dict[str, Any]]] = {kind: [] for kind in kinds}
        for number in range(n // TAKES):
            made = _generation(owner_id, number)
            rows[Generation].append(_plain(made))
            if made.listening_test_id is None:
                texts[made.model_id, made.prompt] += TAKES
                statuses[made.model_id, made.status] += 1
            for take, given in self._takes(made):
                rows[Take].append(_plain(take))
                rows[Rating] += given
                stars_of.update((made.model_id, rating["criterion"], rating["stars"]) for rating in given)
                means[made.model_id, take.mean_stars or 0.0] += 1
                self.take_ids.append(take.id)
            rows[GenerationTag] += [
                {"owner_id": owner_id, "tag": tag, "generation_id": made.id} for tag in _tags(number)
            ]
            if made.is_favorite:
                rows[Favorite].append({"user_id": owner_id, "take_id": self.take_ids[-1]} | _NOW)
            if len(rows[Rating]) > _AT_ONCE:
                _write(session, rows)
        rows[PromptTally] = [
            {"owner_id": owner_id, "model_id": model_id, "prompt": prompt, "n_takes": count, "n_rated": count}
            | {"prompt_key": tallies.prompt_key(prompt)}
            for (model_id, prompt), count in texts.items()
        ]
        rows[RatingTally] = [
            {"owner_id": owner_id, "model_id": model_id, "criterion": criterion, "stars": stars, "n": count}
            for (model_id, criterion, stars), count in stars_of.items()
        ]
        rows[TakeTally] = [
            {"owner_id": owner_id, "model_id": model_id, "mean_stars": mean, "n": count}
            for (model_id, mean), count in means.items()
        ]
        rows[GenerationTally] = [
            {"owner_id": owner_id, "model_id": model_id, "status": status, "n": count}
            for (model_id, status), count in statuses.items()
        ]
        _write(session, rows)

    def _takes(self, made: Generation) -> Iterator[tuple[Take, list[dict[str, Any]]]]:
        for position in range(TAKES):
            take = Take(
                generation_id=made.id, owner_id=made.owner_id, model_id=made.model_id, position=position,
                seed=position, duration_s=5.0, sample_rate=16_000, size_bytes=160_044,
                created_at=made.created_at,
            )  # fmt: skip
            fixed = {"take_id": take.id, "tags": [], "note": ""}
            fixed |= {"created_at": made.created_at, "updated_at": made.created_at}
            given = [
                fixed | {"rater_id": person.id, "criterion": criterion, "stars": random.randint(1, 5)}
                for person in self.people
                for criterion in CRITERIA
            ]
            take.n_ratings, take.stars_sum = len(given), sum(rating["stars"] for rating in given)
            take.mean_stars = take.stars_sum / take.n_ratings
            yield take, given

    def ask(self, kind: str, wanted: dict[str, Any]) -> int:
        """One request; returns the bytes of the answer."""
        if kind == "feedback":
            return self._feedback(**wanted)
        if kind == "studio":
            return self._studio()
        if kind == "pair":
            return self._compare()
        return self._rate(**wanted) if kind == "rate" else self._list(**wanted)

    def _list(self, **wanted: Any) -> int:
        asked = GenerationFilter.model_validate(wanted)
        with Session(self.engine, expire_on_commit=False) as session:
            found, total = generation_lists.list_generations(
                session, actor=self.people[0], **asked.model_dump()
            )
            takes = generations.takes_of(session, found)
        page = GenerationPage.of([GenerationPublic.of(g, takes[g.id]) for g in found], total, asked)
        return len(page.model_dump_json())

    def _feedback(self, **wanted: Any) -> int:
        with Session(self.engine, expire_on_commit=False) as session:
            told = ratings.get_stats(session, actor=self.people[0], **wanted)
            ready = ratings.get_readiness(session, actor=self.people[0], **wanted)
        return len(told.model_dump_json() + ready.model_dump_json())

    def _studio(self) -> int:
        """What the studio reads beside the list: models, texts used lately, criteria, tags."""
        with Session(self.engine, expire_on_commit=False) as session:
            ada = self.people[0]
            told = [
                sound_desk.list_sound_models(session, actor=ada),
                sound_desk.list_recent_prompts(session, actor=ada),
                sound_desk.list_criteria(session, actor=ada),
                marks.list_tags(session, actor=ada),
                offers.list_used_models(session, actor=ada),
            ]
        return len(repr(told))

    def _rate(self, *, number: int) -> int:
        form = RatingPut(stars=random.randint(1, 5), note="again")
        with Session(self.engine.execution_options(studio_write=True)) as session:
            rating = ratings.put(session, actor=self.people[0], take_id=self.take_ids[number], form=form)
            session.commit()
            return len(RatingPublic.of(rating).model_dump_json())

    def _compare(self) -> int:
        """A pair asked for and answered."""
        with Session(self.engine, expire_on_commit=False) as session:
            pair = votes.get_next(session, actor=self.people[0]).pair
        if pair is None:
            raise RuntimeError("There is always a pair left here.")
        form = VotePut(first_take_id=pair.first.id, second_take_id=pair.second.id, verdict=Preference.LEFT)
        with Session(self.engine.execution_options(studio_write=True)) as session:
            vote = votes.put(session, actor=self.people[0], form=form)
            session.commit()
            return len(VotePublic.of(vote).model_dump_json())


def _generation(owner_id: str, number: int) -> Generation:
    prompt = f"text {number % 2000} of rain"
    return Generation(
        owner_id=owner_id, prompt=prompt, prompt_key=tallies.prompt_key(prompt), model_id=f"mod_{number % 3}",
        model_name="Rain", duration_s=5.0, seed=0, n_takes=TAKES, n_done=TAKES, guidance=3.0, temperature=1.0,
        status=GenerationStatus.FAILED if number % 50 == 0 else GenerationStatus.SUCCEEDED,
        is_rated=number % 2 == 0, is_favorite=number % 5 == 0,
        listening_test_id="test_a" if number % 10 == 5 else None,
        created_at=_START + timedelta(minutes=number),
    )  # fmt: skip


def _tags(number: int) -> list[str]:
    """Every fourth has one tag, one of 500 another."""
    return ["often"] * (number % 4 == 0) + ["seldom"] * (number % 500 == 0)


def _write(session: Session, rows: dict[Any, list[dict[str, Any]]]) -> None:
    for table, some in rows.items():
        if some:
            session.connection().execute(insert(table), some)
        some.clear()


def _plain(item: Any) -> dict[str, Any]:
    return {name: getattr(item, name) for name in type(item).model_fields}


def _measure(shelves: dict[int, Shelf]) -> dict[str, dict[int, list[float]]]:
    """Milliseconds of each request by kind and size, the sizes in turn."""
    times: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(ROUNDS + 1):
        for kind, several in REQUESTS.items():
            for wanted in several:
                for size in shelves if number % 2 else reversed(shelves):
                    started = time.perf_counter()
                    shelves[size].ask(kind, wanted)
                    if number:  # the first round warms the caches of both
                        times[kind][size].append((time.perf_counter() - started) * 1000)
    return times


def main() -> int:
    """Print the table; 0 when each ratio is within the floor."""
    with tempfile.TemporaryDirectory() as folder:
        shelves = {n: Shelf(Path(folder), n) for n in (SMALL, LARGE)}
        print(f"{ROUNDS} rounds; milliseconds a request: service, rows, JSON; p95 (median)")
        print(f"{'':>10} {f'{SMALL:,} takes':>18} {f'{LARGE:,} takes':>18} {'p95 ratio':>10}")
        worst = 0.0
        for kind, by_size in _measure(shelves).items():
            shown = [f"{_p95(by_size[n]):.2f} ({statistics.median(by_size[n]):.2f})" for n in shelves]
            ratio = _p95(by_size[LARGE]) / _p95(by_size[SMALL])
            worst = max(worst, ratio)
            print(f"{kind:>10} {shown[0]:>18} {shown[1]:>18} {ratio:>10.2f}")
        for shelf in shelves.values():
            shelf.engine.dispose()
    print(f"worst ratio {worst:.2f} (floor {FLOOR}, aim {AIM})")
    return 0 if worst <= FLOOR else 1


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


if __name__ == "__main__":
    sys.exit(main())
