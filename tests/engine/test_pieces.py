"""Long recordings are cut in their pauses, and nothing of them is lost."""

import numpy as np

from qlora_studio.engine.pieces import cut

RATE = 1000


def test_what_fits_is_left_whole() -> None:
    samples = np.ones(5 * RATE, dtype=np.float32)
    assert [len(piece) for piece in cut(samples, RATE, max_s=5.0)] == [5 * RATE]


def test_pieces_end_in_the_pause_and_hold_everything() -> None:
    samples = np.random.default_rng(0).standard_normal(25 * RATE).astype(np.float32)
    samples[8_700:9_100] = 0.0
    pieces = cut(samples, RATE, max_s=10.0)
    assert 8_700 < len(pieces[0]) < 9_100
    assert all(len(piece) <= 10 * RATE for piece in pieces)
    assert np.array_equal(np.concatenate(pieces), samples)


def test_sound_without_a_pause_is_cut_all_the_same() -> None:
    pieces = cut(np.ones(31 * RATE, dtype=np.float32), RATE, max_s=10.0)
    assert sum(len(piece) for piece in pieces) == 31 * RATE
    assert len(pieces) == 4 or len(pieces) == 5
