"""Listening tests as their pages show them: frozen rows, every figure formatted."""

from dataclasses import dataclass, field

from qlora_studio.contracts.enums import ListeningStatus
from qlora_studio.services.listening_schemas import (
    ComparisonPublic,
    ListeningTestPublic,
    RaterPublic,
    Results,
    StandingPublic,
)
from qlora_studio.state import formats

_LEAST_SPAN = 1.0  # log odds; narrower scales would make much of little


@dataclass(frozen=True)
class TestRow:
    """One line of the list. `href` leads to the results of an own test, else to its questions."""

    id: str
    name: str
    detail: str
    status: str
    percent: int
    progress: str
    votes: str
    mine: str
    created: str
    created_exact: str
    is_own: bool
    is_open: bool


@dataclass(frozen=True)
class TestView:
    """One test, on the pages of its own."""

    id: str = ""
    name: str = ""
    status: str = ""
    detail: str = ""
    is_own: bool = False
    percent: int = 0
    progress: str = ""
    error: str = ""
    votes: str = ""
    raters: str = ""
    answered: str = ""
    share_answered: int = 0


@dataclass(frozen=True)
class StandingRow:
    """A contestant's place, and its interval as parts of the chart's width in percent."""

    label: str
    place: str
    strength: str
    interval: str
    votes: str
    at: float
    start: float
    width: float


@dataclass(frozen=True)
class ComparisonRow:
    """Two contestants, the stronger first."""

    key: str
    one: str
    other: str
    share: str
    interval: str
    votes: str
    needed: str
    is_told_apart: bool


@dataclass(frozen=True)
class RaterRow:
    """One rater. `note` says why the votes don't count, or who decided that they do."""

    id: str
    name: str
    votes: str
    catches: str
    repeats: str
    note: str
    is_left_out: bool
    is_decided: bool


@dataclass(frozen=True)
class ResultView:
    """What the votes say."""

    summary: str = ""
    has_votes: bool = False
    votes: str = ""
    agreement: str = ""
    agreement_detail: str = ""
    ties: str = ""
    lean: str = ""
    axis: list[tuple[float, str]] = field(default_factory=list)


NO_RESULTS = ResultView()


def test_row(test: ListeningTestPublic) -> TestRow:
    """Return a line of the list."""
    created = formats.when(test.created_at)
    by = "" if test.is_own else f" · by {test.owner_name}"
    return TestRow(
        id=test.id,
        name=test.name,
        detail=f"{test.n_contestants} contestants · {formats.count(test.n_takes, 'take')}{by}",
        status=test.status.value,
        percent=test.percent,
        progress=f"{test.n_takes_done:,} of {test.n_takes:,} takes",
        votes=_of(test.n_votes, test.max_votes),
        mine=_of(test.n_answered, test.max_per_rater),
        created=created.relative,
        created_exact=created.exact,
        is_own=test.is_own,
        is_open=test.status is ListeningStatus.OPEN,
    )


def test_view(test: ListeningTestPublic) -> TestView:
    """Return the head of a test's pages."""
    who = f"{test.n_contestants} contestants, {formats.count(test.n_takes, 'take')}"
    done = test.n_answered
    return TestView(
        id=test.id,
        name=test.name,
        status=test.status.value,
        detail=who if test.is_own else f"By {test.owner_name}. Nothing here says what made the sounds.",
        is_own=test.is_own,
        percent=test.percent,
        progress=f"{test.n_takes_done:,} of {test.n_takes:,} takes",
        error=test.error,
        votes=_of(test.n_votes, test.max_votes),
        raters=formats.count(test.n_raters),
        answered=answered_text(done, test.max_per_rater),
        share_answered=round(100 * done / test.max_per_rater) if test.max_per_rater else 0,
    )


def answered_text(n_answered: int, n_most: int | None) -> str:
    """`12 of 40 pairs answered`."""
    return f"{_of(n_answered, n_most)} {'pair' if (n_most or n_answered) == 1 else 'pairs'} answered"


def result_view(results: Results) -> ResultView:
    """Return the figures that stand above the tables."""
    low, high = _span(results.standings)
    ticks = [tick for tick in range(-12, 13) if low <= tick <= high]
    if len(ticks) > 7:
        ticks = [tick for tick in ticks if tick % 2 == 0]
    return ResultView(
        summary=results.summary,
        has_votes=results.n_votes > 0,
        votes=formats.count(results.n_votes),
        agreement=_alpha(results.agreement.alpha),
        agreement_detail=_agreement(results),
        ties=formats.percent(results.tie_share, 0),
        lean=_lean(results),
        axis=[(_place(tick, low, high), f"{tick:+d}" if tick else "0") for tick in ticks],
    )


def standing_rows(results: Results) -> list[StandingRow]:
    """Return the contestants, the strongest first."""
    low, high = _span(results.standings)
    return [_standing(found, low, high) for found in results.standings]


def comparison_rows(results: Results) -> list[ComparisonRow]:
    """Return every two contestants."""
    labels = {standing.position: standing.label for standing in results.standings}
    return [_comparison(found, labels) for found in results.comparisons]


def rater_rows(results: Results) -> list[RaterRow]:
    """Return the raters."""
    return [_rater(found) for found in results.raters]


def _of(n: int, most: int | None) -> str:
    return formats.count(n) if most is None else f"{n:,} of {most:,}"


def _span(standings: list[StandingPublic]) -> tuple[float, float]:
    reach = max([_LEAST_SPAN, *(abs(edge) for found in standings for edge in (found.low, found.high))])
    return -1.05 * reach, 1.05 * reach


def _place(value: float, low: float, high: float) -> float:
    return round(100 * (value - low) / (high - low), 2)


def _standing(found: StandingPublic, low: float, high: float) -> StandingRow:
    first, last = found.first_place, found.last_place
    start = _place(found.low, low, high)
    return StandingRow(
        label=found.label,
        place=str(first) if first == last else f"{first} to {last}",
        strength=f"{found.strength:+.2f}",
        interval=f"{found.low:+.2f} to {found.high:+.2f}",
        votes=formats.count(found.n_votes),
        at=_place(found.strength, low, high),
        start=start,
        width=round(_place(found.high, low, high) - start, 2),
    )


def _comparison(found: ComparisonPublic, labels: dict[int, str]) -> ComparisonRow:
    needed = "Told apart"
    if found.votes_needed is None:
        needed = "Equal so far" if found.n_votes else "No votes between them yet"
    elif found.votes_needed:
        needed = f"About {formats.count(found.votes_needed, 'more vote')}"
    return ComparisonRow(
        key=f"{found.one}-{found.other}",
        one=labels[found.one],
        other=labels[found.other],
        share=formats.percent(found.share, 0),
        interval=f"{found.low * 100:.0f} to {found.high * 100:.0f}\u00a0%",
        votes=formats.count(found.n_votes),
        needed=needed,
        is_told_apart=found.is_told_apart,
    )


def _rater(found: RaterPublic) -> RaterRow:
    note = found.reason
    if found.decided is not None:
        said = "Left out by you." if found.decided else "Kept by you."
        note = f"{said} {found.reason}".strip()
    return RaterRow(
        id=found.rater_id,
        name=found.name,
        votes=formats.count(found.n_votes),
        catches=f"{found.n_right} of {found.n_known}" if found.n_known else "–",
        repeats=f"{found.n_same} of {found.n_repeats}" if found.n_repeats else "–",
        note=note,
        is_left_out=found.is_left_out,
        is_decided=found.decided is not None,
    )


def _alpha(alpha: float | None) -> str:
    return "–" if alpha is None else f"{alpha:.2f}"


def _agreement(results: Results) -> str:
    found = results.agreement
    if found.alpha is None:
        return "No pair was judged by two raters yet."
    pairs = formats.count(found.n_units, "pair")
    if found.low is None or found.high is None:
        return f"Krippendorff's alpha over {pairs}."
    return f"Krippendorff's alpha over {pairs}, 95\u00a0%: {found.low:.2f} to {found.high:.2f}"


def _lean(results: Results) -> str:
    if results.lean_low <= 0 <= results.lean_high or not results.n_votes:
        return "no side is favoured"
    return f"raters lean to the {'left' if results.lean > 0 else 'right'}"
