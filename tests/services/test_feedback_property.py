"""What is counted before, what is chosen, and what is exported are the same rows, by whatever filter.

The filter is done a second time here, in plain loops over what was said.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import mean, median
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import col, delete, select

from qlora_studio.contracts.enums import Preference
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import Clip, Generation, PreferenceVote, Rating, Take, User
from qlora_studio.ingest import launching, pipeline
from qlora_studio.services import blind_pairs, datasets, feedback_rows, preference_pairs, tallies
from qlora_studio.services.feedback_filter import FeedbackFilter
from tests.services.test_feedback_datasets import exported, heard, make, preview

ADAPTER = "ada_000000000001"
_MADE = [("mod_a", None), ("mod_a", ADAPTER), ("mod_b", None), ("mod_a", None)]  # the last repeats the first
Row = tuple[str, ...]


@dataclass(frozen=True)
class Sound:
    """A take and what made it; two with the same text, model, adapter and seed are the same sound."""

    id: str
    prompt: str
    model_id: str
    adapter_id: str | None
    seed: int

    @property
    def recipe(self) -> Row:
        return (self.prompt, self.model_id, str(self.adapter_id), str(self.seed))


@dataclass
class Said:
    """Everything that was said, by take, rater and criterion, and by rater and pair."""

    ratings: dict[tuple[int, int, str], tuple[int, tuple[str, ...], int]] = field(default_factory=dict)
    votes: dict[tuple[int, frozenset[int]], tuple[int, int, str, int]] = field(default_factory=dict)


_DAYS = st.integers(1, 5)
_RATINGS = st.dictionaries(
    st.tuples(st.integers(0, 15), st.integers(0, 1), st.sampled_from(["overall", "clarity"])),
    st.tuples(st.integers(1, 5), st.sampled_from([(), ("warm",), ("warm", "far")]), _DAYS),
    max_size=30,
)
_PAIRS = st.frozensets(st.integers(0, 15), min_size=2, max_size=2)
_VOTES = st.dictionaries(
    st.tuples(st.integers(0, 1), _PAIRS),
    st.tuples(st.booleans(), st.sampled_from(["left", "right", "tie", "skip"]), _DAYS),
    max_size=20,
)


@st.composite
def filters(draw: st.DrawFn) -> dict[str, Any]:
    """A filter as the API takes it; `rater` is a number, to be filled in."""
    kind = draw(st.sampled_from(["takes", "votes", "ratings"]))
    since, until = sorted([draw(_DAYS), draw(_DAYS)])
    chosen: dict[str, Any] = {
        "rater": draw(st.sampled_from([None, None, 0, 1])),
        "model_id": draw(st.sampled_from([None, None, "mod_a", "mod_b"])),
        "adapter_id": draw(st.sampled_from([None, None, "none", ADAPTER])),
        "since": f"2026-01-{since:02}" if draw(st.booleans()) else None,
        "until": f"2026-01-{until:02}" if draw(st.booleans()) else None,
    }
    if kind != "votes":
        chosen["over"] = draw(st.sampled_from(["mean", "median"]))
        chosen["criterion"] = draw(st.sampled_from([None, None, "clarity"]))
        chosen["tags"] = draw(st.sampled_from([None, None, ["warm"], ["warm", "far"]]))
    if kind == "takes":
        chosen["min_stars"] = draw(st.sampled_from([1, 2.5, 4, 5]))
    else:
        chosen |= {"target": "pairs", "pairs_from": kind}
    if kind == "ratings":
        chosen["min_gap"] = draw(st.sampled_from([0.5, 1, 2]))
    return {name: value for name, value in chosen.items() if value is not None}


@pytest.mark.parametrize("n_examples", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_counted_chosen_and_exported_are_the_same_rows(
    n_examples: int,
    user: User,
    stranger: User,
    decoding_here: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launching, "launch", pipeline.run)
    shelf = _fill_shelf(user)
    raters = [user.id, stranger.id]

    @settings(
        max_examples=n_examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_RATINGS, _VOTES, filters())
    def check(given_ratings: Any, given_votes: Any, wanted: dict[str, Any]) -> None:
        said = Said(given_ratings)
        for (rater, pair), (is_turned, verdict, day) in given_votes.items():
            left, right = sorted(pair, reverse=is_turned)
            if shelf[left].recipe[:2] == shelf[right].recipe[:2]:
                said.votes[rater, pair] = (left, right, verdict, day)
        _write(said, shelf, user, raters)
        expected = _rows(said, shelf, wanted)
        asked = {name: value for name, value in wanted.items() if name != "rater"}
        if "rater" in wanted:
            asked["rater_id"] = raters[wanted["rater"]]
        assert _chosen(user, asked) == expected
        assert preview(user, **asked) == len(expected)
        if not expected:
            with pytest.raises(InvalidInput):
                make(user, **asked)
            return
        assert _exported(user, asked) == expected

    check()


def _fill_shelf(user: User) -> list[Sound]:
    shelf = []
    for prompt in ("rain", "snow"):
        for model_id, adapter_id in _MADE:
            takes = heard(user, 2, prompt=prompt)
            with db.write() as session:
                session.get_one(Generation, takes[0].generation_id).adapter_id = adapter_id
                session.get_one(Generation, takes[0].generation_id).model_id = model_id
                for take in takes:
                    session.get_one(Take, take.id).model_id = model_id
            shelf += [Sound(take.id, prompt, model_id, adapter_id, take.seed) for take in takes]
    return shelf


def _write(said: Said, shelf: list[Sound], user: User, raters: list[str]) -> None:
    with db.write() as session:
        for table in (Rating, PreferenceVote):
            session.exec(delete(table))
        for (take, rater, criterion), (stars, tags, day) in said.ratings.items():
            session.add(
                Rating(
                    take_id=shelf[take].id, rater_id=raters[rater], criterion=criterion, stars=stars,
                    tags=list(tags), updated_at=_noon(day),
                )
            )  # fmt: skip
        for (rater, _), (left, right, verdict, day) in said.votes.items():
            first, second = shelf[left], shelf[right]
            session.add(
                PreferenceVote(
                    rater_id=raters[rater], first_take_id=first.id, second_take_id=second.id,
                    pair_key=blind_pairs.key_of(first.id, second.id), owner_id=user.id,
                    model_id=first.model_id, prompt_key=tallies.prompt_key(first.prompt),
                    verdict=Preference(verdict), updated_at=_noon(day),
                )
            )  # fmt: skip


def _noon(day: int) -> datetime:
    return datetime(2026, 1, day, 12, tzinfo=UTC)


def _rows(said: Said, shelf: list[Sound], wanted: dict[str, Any]) -> set[Row]:
    if wanted.get("pairs_from") == "votes":
        return _voted(said, shelf, wanted)
    stars: dict[int, list[int]] = defaultdict(list)
    for (take, rater, criterion), (given_stars, tags, day) in said.ratings.items():
        is_asked = wanted.get("criterion") in (None, criterion) and set(wanted.get("tags", [])) <= set(tags)
        if is_asked and _is_by(rater, day, wanted):
            stars[take].append(given_stars)
    over = mean if wanted["over"] == "mean" else median
    scores = {take: over(values) for take, values in stars.items() if _is_made_by(shelf[take], wanted)}
    if "target" not in wanted:
        return {(shelf[take].id,) for take, score in scores.items() if score >= wanted["min_stars"] - 1e-9}
    return {
        (shelf[a].id, shelf[b].id)
        for a in scores
        for b in scores
        if _is_pair(shelf[a], shelf[b]) and scores[a] - scores[b] >= wanted["min_gap"] - 1e-9
    }


def _voted(said: Said, shelf: list[Sound], wanted: dict[str, Any]) -> set[Row]:
    leads: dict[frozenset[int], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for (rater, pair), (left, right, verdict, day) in said.votes.items():
        if verdict in ("left", "right") and _is_by(rater, day, wanted):
            leads[pair][left if verdict == "left" else right] += 1
    rows = set()
    for pair, wins in leads.items():
        better, worse = sorted(pair, key=lambda take: -wins[take])
        a, b = shelf[better], shelf[worse]
        if wins[better] > wins[worse] and _is_pair(a, b) and all(_is_made_by(x, wanted) for x in (a, b)):
            rows.add((a.id, b.id))
    return rows


def _is_by(rater: int, day: int, wanted: dict[str, Any]) -> bool:
    date = f"2026-01-{day:02}"
    is_on = wanted.get("since", date) <= date <= wanted.get("until", date)
    return is_on and wanted.get("rater") in (None, rater)


def _is_made_by(sound: Sound, wanted: dict[str, Any]) -> bool:
    is_of_model = wanted.get("model_id") in (None, sound.model_id)
    return is_of_model and wanted.get("adapter_id") in (None, sound.adapter_id or "none")


def _is_pair(a: Sound, b: Sound) -> bool:
    return a.recipe[:2] == b.recipe[:2] and a.recipe != b.recipe


def _chosen(user: User, asked: dict[str, Any]) -> set[Row]:
    with db.read() as session:
        rows = feedback_rows.find(session, actor=user, wanted=FeedbackFilter.model_validate(asked))
    found = [tuple(file[0] for file in feedback_rows.files_of(row)) for row in rows]
    assert len(found) == len(set(found)), "no row is there twice"
    return set(found)


def _exported(user: User, asked: dict[str, Any]) -> set[Row]:
    """The rows of a dataset that is made, read back from what a training would get; the dataset then goes."""
    dataset = make(user, **asked)
    clips = exported(dataset)
    with db.read() as session:
        rows = session.exec(select(Clip.id, Clip.filename).where(col(Clip.dataset_id) == dataset.id))
        takes = {clip_id: name.removesuffix(".wav").split("-")[0] for clip_id, name in rows}
    by_path = {clip.path: takes[clip.id] for clip in clips}
    with db.write() as session:
        datasets.delete(session, actor=user, dataset_id=dataset.id)
    if "target" not in asked:
        return {(by_path[clip.path],) for clip in clips}
    pairs = preference_pairs.pair_up(clips)
    assert pairs.n_broken == 0
    return {(by_path[pair.chosen], by_path[pair.rejected]) for pair in pairs.whole}
