"""What a job's page says of a learning-rate range test."""

from qlora_studio.state.range_test import RangeView, range_view


def test_the_best_rate_is_shown_where_it_lies() -> None:
    found = {"rates": [1e-4, 1e-3, 1e-2], "changes": [3.0, 2.0, 2.5], "best_rate": 1e-3}
    view = range_view({"range_test": found})
    assert (view.best, view.best_at) == ("0.001", "50.0%")
    assert (view.lowest, view.highest) == ("1e-04", "1e-02")
    assert view.path.startswith("M0.0")


def test_without_a_rate_it_says_so() -> None:
    view = range_view({"range_test": {"rates": [1e-4, 1e-3], "changes": [3.0, 3.0], "best_rate": None}})
    assert view.best == ""
    assert "does not fall" in view.sentence


def test_other_jobs_have_none() -> None:
    assert range_view({}) == RangeView()
