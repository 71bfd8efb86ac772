"""Whisper's windows: the standard 30 s, and short ones that hold little more than the clips.

Nearly all of a 30 s window is silence when clips are short, and a step costs what its window costs. A model
that never saw a short window falls apart in one, and one that is trained in short windows alone is worse in
the standard one, where it is used. So most training batches are short and some are standard; evaluation is
always standard. `docs/training.md` has the figures.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

STANDARD_SHARE = 0.15  # of the training batches
_FRAME_S = 0.01
_MARGIN_FRAMES = 100  # the end of a clip is heard as an end
_ROUND_FRAMES = 50  # few different shapes


def short_frames(n_frames: Sequence[int], *, longest: int) -> int:
    """Return the frames (10 ms) of the window for clips of `n_frames`, at most `longest`."""
    wanted = max(n_frames) + _MARGIN_FRAMES
    return min(longest, -(-wanted // _ROUND_FRAMES) * _ROUND_FRAMES)


def is_standard(labels: Sequence[list[int]], *, share: float = STANDARD_SHARE) -> bool:
    """Whether a batch keeps the standard window: a draw by its content, the same when a run is resumed.

    Clips meet other neighbours in every epoch, so that it is another batch's turn each time.
    """
    return zlib.crc32(repr(list(labels)).encode()) < share * 2**32


def fill_window(mels: Sequence[np.ndarray], fills: Sequence[np.ndarray], n_frames: int) -> np.ndarray:
    """Return windows (batch, bins, n_frames) of log-mels (bins, frames), filled with each clip's silence."""
    window = np.empty((len(mels), mels[0].shape[0], n_frames), dtype=np.float32)
    for row, mel, fill in zip(window, mels, fills, strict=True):
        n = min(mel.shape[1], n_frames)
        row[:, :n] = mel[:, :n]
        row[:, n:] = fill[:, None]
    return window


def take_short_windows(encoder: Any) -> None:
    """Let Whisper's encoder hear windows shorter than its own.

    The stock forward insists on its full length; for a shorter window it is given as many positions as that
    has, for the time of the call. At full length nothing is touched.
    """
    whole = encoder.embed_positions
    n_positions = encoder.config.max_source_positions

    def cut(_encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mel = args[0] if args else kwargs["input_features"]
        n = mel.shape[-1] // (encoder.conv1.stride[0] * encoder.conv2.stride[0])
        if n < n_positions:
            encoder.config.max_source_positions = n
            encoder.embed_positions = torch.nn.Embedding.from_pretrained(whole.weight[:n])

    def restore(*_: Any) -> None:
        encoder.config.max_source_positions = n_positions
        encoder.embed_positions = whole

    encoder.register_forward_pre_hook(cut, with_kwargs=True)
    encoder.register_forward_hook(restore, always_call=True)
