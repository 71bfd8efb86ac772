"""What jobs can be spread over, on machines that this one is not."""

from collections.abc import Iterator

import pytest

from qlora_studio.core import devices
from qlora_studio.core.settings import get_settings


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("visible", "n_cards", "expected"),
    [
        (None, 0, []),
        (None, 3, ["0", "1", "2"]),
        ("", 3, []),
        ("-1", 3, []),
        ("2, 0", 3, ["2", "0"]),
        ("GPU-8f2e", 3, ["GPU-8f2e"]),
        ("0", 0, []),
    ],
)
def test_cards_are_those_that_may_be_seen(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, n_cards: int, expected: list[str]
) -> None:
    monkeypatch.setattr(devices, "_count_cards", lambda: n_cards)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.list_cards() == expected


@pytest.mark.parametrize(
    ("n_cards", "settings", "slots", "most"),
    [
        (0, {}, 1, 1),
        (4, {}, 4, 4),
        (4, {"SLOTS": "2"}, 8, 4),
        (2, {"SLOTS": "8"}, 16, 2),
        (2, {"SLOTS": "0"}, 0, 2),
        (0, {"SLOTS": "2"}, 2, 1),
        (0, {"CPU_DEVICES": "2"}, 2, 2),
        (0, {"CPU_DEVICES": "2", "SLOTS": "2"}, 4, 2),
        (3, {"CPU_DEVICES": "2"}, 3, 3),
    ],
)
def test_each_device_has_as_many_slots_as_are_set(
    monkeypatch: pytest.MonkeyPatch, n_cards: int, settings: dict[str, str], slots: int, most: int
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_count_cards", lambda: n_cards)
    for name in ("SLOTS", "CPU_DEVICES"):
        monkeypatch.delenv(f"QLORA_STUDIO_{name}", raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(f"QLORA_STUDIO_{name}", value)
    assert (devices.count_slots(), devices.most_devices()) == (slots, most)


def test_a_driver_that_comes_later_is_found_and_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    answers: list[int | None] = [None, 2, None]
    now = 0.0

    def count() -> int:
        if (answer := answers.pop(0)) is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        return answer

    for name in ("nvmlInit", "nvmlShutdown"):
        monkeypatch.setattr(pynvml, name, lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", count)
    monkeypatch.setattr(devices.time, "monotonic", lambda: now)
    for cached in (devices._count_in, devices._ask_driver):
        cached.cache_clear()
    try:
        assert (devices._count_cards(), devices._count_cards()) == (0, 0)
        now = 61.0
        assert devices._count_cards() == 2
        now = 200.0
        assert devices._count_cards() == 2
    finally:
        for cached in (devices._count_in, devices._ask_driver):
            cached.cache_clear()
