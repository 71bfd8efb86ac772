from datetime import UTC, datetime, timedelta

import pytest

from qlora_studio.state import formats
from qlora_studio.state.charts import MAX_SPARK_POINTS, sparkline_path


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0, "0.0 s"), (3.14, "3.1 s"), (9.96, "10 s"), (59.6, "1 min"), (250, "4 min 10 s"),
        (1800, "30 min"), (8040, "2 h 14 min"), (7200, "2 h"), (273_600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_duration(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (820_000, "820 kB"),
        (1.3e9, "1.3 GB"),
        (5e13, "50.0 TB"),
    ],
)
def test_size(n_bytes: float | None, text: str) -> None:
    assert formats.size(n_bytes) == text


def test_counts_and_numbers() -> None:
    assert formats.count(12480, "clip") == "12,480 clips"
    assert formats.count(1, "clip") == "1 clip"
    assert formats.percent(0.0653) == "6.5\u00a0%"
    assert formats.parameters(37_760_640) == "37.8 M"
    assert formats.number(0.00012345) == "0.0001234"
    assert formats.hours(12_240) == "3.4 h"


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=3), "just now"), (timedelta(seconds=-3), "just now"),
        (timedelta(minutes=5), "5 min ago"),
        (timedelta(hours=3), "3 h ago"), (timedelta(days=2), "2 d ago"), (timedelta(days=30), "23 Oct 2026"),
    ],
)  # fmt: skip
def test_when(ago: timedelta, text: str) -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    found = formats.when(now - ago, now=now)
    assert found.relative == text
    assert found.exact.endswith("UTC")


def test_sparkline_keeps_spikes_and_leaves_out_what_is_not_a_number() -> None:
    values: list[float | None] = [1.0] * 5000
    values[1234] = 9.0
    values[10], values[11] = None, float("nan")
    path = sparkline_path(values)
    points = path.removeprefix("M").split("L")
    assert len(points) <= MAX_SPARK_POINTS
    assert any(point.endswith(",2.0") for point in points)  # the spike, at the top
    assert sparkline_path([1.0]) == ""
    assert sparkline_path([2.0, 2.0]).startswith("M0.0,")
