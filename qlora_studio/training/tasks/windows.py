"""Windows of fixed length: the standard one, and short ones that hold little more than the clips.

Whisper hears 30 s, AST mostly 10. Nearly all of that is silence when clips are short, and a step costs what
its window costs. A model that never saw a short window falls apart in one, and one that is trained in short
windows alone is worse in the standard one, where it is used. So most training batches are short and some are
standard; evaluation is always standard. `docs/training.md` has the figures.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from qlora_studio.training.batches import rows_of
from qlora_studio.training.tasks.base import Batch, Features

STANDARD_SHARE = 0.15  # of the training batches
STANDARD_ROWS = 2  # of them at a time
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


def in_pieces(batch: Batch, n_frames: int, *, longest: int) -> list[Batch]:
    """Cut a batch of windows so that no piece has more frames than a few standard windows.

    Those few standard batches would else decide how much memory the whole job needs.
    """
    n_rows = max(1, STANDARD_ROWS * longest // n_frames)
    starts = range(0, len(batch["labels"]), n_rows)
    return [rows_of(batch, slice(start, start + n_rows)) for start in starts] if len(starts) > 1 else [batch]


def trim(window: np.ndarray) -> Features:
    """Keep a window (bins, frames) without the constant silence that fills it up.

    Returns:
        `mel` (bins, frames), at least one frame, and `fill` (bins,), the value of every later frame.
    """
    fill = window[:, -1:]
    differs = np.flatnonzero((window != fill).any(axis=0))
    n_frames = int(differs[-1]) + 1 if differs.size else 1
    mel = np.ascontiguousarray(window[:, :n_frames], dtype=np.float32)
    return {"mel": mel, "fill": fill[:, 0].copy()}


def fill_window(mels: Sequence[np.ndarray], fills: Sequence[np.ndarray], n_frames: int) -> np.ndarray:
    """Return windows (batch, bins, n_frames) of log-mels (bins, frames), filled with each clip's silence."""
    window = np.empty((len(mels), mels[0].shape[0], n_frames), dtype=np.float32)
    for row, mel, fill in zip(window, mels, fills, strict=True):
        n = min(mel.shape[1], n_frames)
        row[:, :n] = mel[:, :n]
        row[:, n:] = fill[:, None]
    return window


def take_short_patches(embeddings: Any) -> None:
    """Let AST hear windows shorter than its own: with the positions of the frames that are there.

    Args:
        embeddings: the model's `ASTEmbeddings`. At full length its forward is the stock one.
    """
    whole, config = embeddings.forward, embeddings.config
    n_bands, n_times = embeddings.get_shape(config)

    def forward(input_values: torch.Tensor) -> torch.Tensor:
        n = (input_values.shape[1] - config.patch_size) // config.time_stride + 1
        if n == n_times:
            return whole(input_values)
        patches = embeddings.patch_embeddings(input_values)
        tokens = torch.cat((embeddings.cls_token, embeddings.distillation_token), dim=1)
        of_tokens, of_patches = embeddings.position_embeddings.split([2, n_bands * n_times], dim=1)
        of_patches = of_patches.unflatten(1, (n_bands, n_times))[:, :, :n].flatten(1, 2)
        seen = torch.cat(((tokens + of_tokens).expand(len(patches), -1, -1), patches + of_patches), dim=1)
        return embeddings.dropout(seen)

    embeddings.forward = forward


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
