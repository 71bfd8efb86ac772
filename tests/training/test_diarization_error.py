"""The diarization error rate and its three parts, by hand."""

import pytest

from qlora_studio.audio.turns import Turn
from qlora_studio.training import diarization_error


@pytest.mark.parametrize(
    ("answer", "rates"),
    [
        ([(0, 6, "x"), (4, 6, "y")], (0, 0, 0)),
        ([], (12, 0, 0)),
        (
            [(0, 10, "x")],
            (2, 0, 4),
        ),  # the second to speak is taken for the first in 4 s, and 2 s of both are one
        ([(0, 6, "x"), (4, 8, "y")], (0, 2, 0)),
        ([(0, 4, "x"), (4, 2, "z"), (4, 6, "y")], (0, 0, 2)),
    ],
)
def test_the_error_rate_and_its_parts_by_hand(answer: list[tuple], rates: tuple[int, int, int]) -> None:
    """Ann speaks from 0 to 6 s, Bob from 4 to 10 s: 12 s of speech in 10 s of sound."""
    reference = [Turn(0, 6, "ann"), Turn(4, 6, "bob")]
    found = diarization_error.rates([(reference, [Turn(*turn) for turn in answer])])
    parts = [found["missed_speech"], found["false_alarm"], found["confusion"]]
    assert parts == pytest.approx([seconds / 12 for seconds in rates])
    assert found["der"] == pytest.approx(sum(rates) / 12)


def test_error_rates_add_seconds_up_over_recordings() -> None:
    long, short = [Turn(0, 9, "ann")], [Turn(0, 0.5, "ann"), Turn(0.4, 0.6, "ann")]
    found = diarization_error.rates([(long, long), (short, []), ([], [])])
    assert found["der"] == pytest.approx(0.1)  # a speaker's own overlap is no second voice
    assert set(diarization_error.rates([([], [Turn(0, 1, "x")])]).values()) == {None}
