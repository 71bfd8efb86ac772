import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlora_studio.jobs import metrics
from qlora_studio.jobs.metrics import MetricsWriter, query, read_all, sequence


def rows(values, *, attempt=1, first_step=0, first_seq=1):
    return [
        (sequence(attempt, first_seq + i), first_step + i, float(i), float(v)) for i, v in enumerate(values)
    ]


def test_few_points_come_back_as_they_are(tmp_path):
    MetricsWriter(tmp_path).append({"loss": rows([3, 2, 1])})
    series = query(tmp_path, ["loss"])["loss"]
    assert (series.step, series.value) == ([0, 1, 2], [3.0, 2.0, 1.0])
    assert metrics.keys(tmp_path) == ["loss"]
    assert metrics.last_value(tmp_path, "loss") == (2, 1.0)


def test_a_key_that_is_not_there_is_left_out(tmp_path):
    assert query(tmp_path, ["loss"]) == {}
    assert metrics.keys(tmp_path / "none") == []


def test_keys_never_leave_the_folder(tmp_path):
    folder = tmp_path / "metrics"
    MetricsWriter(folder).append({"../../x": rows([1]), "..": rows([1]), "a/b": rows([1])})
    assert {p.parent for p in tmp_path.rglob("0.bin")} == {p for p in folder.iterdir() if p.is_dir()}
    assert metrics.keys(folder) == sorted(["../../x", "..", "a/b"])


@pytest.mark.parametrize(("first", "last"), [(None, None), (1_000, 90_000), (777, 50_123), (99_000, None)])
def test_every_spike_is_in_every_view(tmp_path, first, last):
    generator = random.Random(1)
    values = np.zeros(100_000)
    spikes = sorted(generator.sample(range(100_000), 20))
    values[spikes] = 9
    writer = MetricsWriter(tmp_path)
    for i in range(0, 100_000, 7_001):
        writer.append({"loss": rows(values[i : i + 7_001], first_step=i, first_seq=i + 1)})
    series = query(tmp_path, ["loss"], from_step=first, to_step=last, max_points=2_000)["loss"]
    shown = [s for s, v in zip(series.step, series.value, strict=True) if v == 9]
    assert shown == [s for s in spikes if (first or 0) <= s <= (last or 100_000)]
    assert len(series.step) <= 2_000
    assert series.step == sorted(series.step)


@pytest.mark.parametrize(("first", "last"), [(None, None), (5_000.0, 70_000.0), (5_000.5, 69_999.5)])
def test_a_part_by_time_has_every_spike_too(tmp_path, first, last):
    values = np.zeros(100_000)
    spikes = [500, 5_000, 40_000, 50_123, 70_000, 95_000]
    values[spikes] = 9
    MetricsWriter(tmp_path).append({"loss": rows(values), "cpu_percent": rows(values)})
    for key in ("loss", "cpu_percent"):
        series = query(tmp_path, [key], from_time=first, to_time=last, max_points=200)[key]
        shown = [t for t, v in zip(series.time, series.value, strict=True) if v == 9]
        assert shown == [s for s in spikes if (first or 0) <= s <= (last or 100_000)]
        assert len(series.time) <= 200


def test_a_clock_that_is_set_back_folds_no_curve(tmp_path):
    day = 86_400.0
    times = [day + 0, day + 1, 2.0, 3.0, 4.0]
    points = [(sequence(1, i + 1), i, at, float(i)) for i, at in enumerate(times)]
    writer = MetricsWriter(tmp_path)
    writer.append({"loss": points[:4]})
    writer.append({"loss": points[4:]})
    MetricsWriter(tmp_path).append({"loss": [(sequence(1, 6), 5, 5.0, 5.0)]})  # after a restart
    series = query(tmp_path, ["loss"])["loss"]
    assert series.time == [day, day + 1, day + 1, day + 2, day + 3, day + 3]
    assert query(tmp_path, ["loss"], from_time=day + 2)["loss"].step == [3, 4, 5]


def test_the_same_points_again_change_nothing(tmp_path):
    points = {"loss": rows(range(50))}
    MetricsWriter(tmp_path).append(points)
    MetricsWriter(tmp_path).append(points)
    MetricsWriter(tmp_path).append({"loss": rows(range(60))})
    assert read_all(tmp_path, "loss")[:]["step"].tolist() == list(range(60))


def test_a_resumed_attempt_takes_the_place_of_the_steps_it_repeats(tmp_path):
    MetricsWriter(tmp_path).append({"loss": rows(range(40)), "cpu_percent": rows(range(40))})
    again = {"loss": rows([7] * 30, attempt=2, first_step=20), "cpu_percent": rows([7] * 5, attempt=2)}
    MetricsWriter(tmp_path).append(again)
    points = read_all(tmp_path, "loss")[:]
    assert points["step"].tolist() == list(range(50))
    assert points["value"][20:].tolist() == [7.0] * 30
    assert len(read_all(tmp_path, "cpu_percent")) == 45  # machine curves run over time
    thinned = query(tmp_path, ["loss"], max_points=16)["loss"]
    assert max(thinned.value) == 19


def test_half_a_record_at_the_end_is_cut_off(tmp_path):
    MetricsWriter(tmp_path).append({"loss": rows(range(20))})
    for path in (tmp_path / "loss").iterdir():
        with path.open("ab") as file:
            file.write(b"torn")
    assert query(tmp_path, ["loss"])["loss"].step == list(range(20))
    MetricsWriter(tmp_path).append({"loss": rows(range(20, 40), first_step=20, first_seq=21)})
    assert query(tmp_path, ["loss"])["loss"].value == [float(i) for i in range(40)]


def test_a_level_that_is_lost_is_built_again(tmp_path):
    MetricsWriter(tmp_path).append({"loss": rows(range(4_000))})
    (tmp_path / "loss" / "1.bin").unlink()
    MetricsWriter(tmp_path).append({"loss": rows([5] * 100, first_step=4_000, first_seq=4_001)})
    series = query(tmp_path, ["loss"], max_points=100)["loss"]
    assert max(series.value) == 3_999


def test_not_a_number_stays_a_gap(tmp_path):
    MetricsWriter(tmp_path).append({"loss": rows([1, float("nan"), 3])})
    values = query(tmp_path, ["loss"])["loss"].value
    assert np.isnan(values[1])
    MetricsWriter(tmp_path).append({"loss": rows([float("nan")] * 5_000, first_step=3, first_seq=4)})
    thinned = query(tmp_path, ["loss"], max_points=100)["loss"].value
    assert np.nanmax(thinned) == 3
    assert np.isnan(thinned[-1])


def test_a_thinned_curve_begins_and_ends_where_it_does(tmp_path):
    values = [*(5 + (7 * i % 100) / 100 for i in range(5_002)), float("nan")]  # diverged at its last step
    MetricsWriter(tmp_path).append({"loss": rows(values)})
    for bounds, ends in (({}, (0, 5_002)), ({"from_step": 17, "to_step": 4_321}, (17, 4_321))):
        series = query(tmp_path, ["loss"], max_points=60, **bounds)["loss"]
        assert (series.step[0], series.step[-1]) == ends
        assert series.value[0] == values[ends[0]]
        assert len(series.step) <= 60
        assert series.step == sorted(set(series.step))
    assert np.isnan(query(tmp_path, ["loss"], max_points=60)["loss"].value[-1])


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    first=st.integers(0, 600),
    width=st.integers(0, 2_500),
    max_points=st.integers(16, 300),
)
def test_a_view_has_the_extremes_of_its_range(tmp_path_factory, sizes, first, width, max_points):
    folder = tmp_path_factory.mktemp("m")
    values = np.random.default_rng(0).normal(size=sum(sizes))
    writer, done = MetricsWriter(folder), 0
    for size in sizes:
        writer.append({"k": rows(values[done : done + size], first_step=done, first_seq=done + 1)})
        done += size
    series = query(folder, ["k"], from_step=first, to_step=first + width, max_points=max_points)["k"]
    inside = values[first : first + width + 1]
    assert len(series.value) <= max_points
    if len(inside):
        assert min(series.value) == inside.min()
        assert max(series.value) == inside.max()
    else:
        assert series.value == []
