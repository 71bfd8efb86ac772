"""MusicGen's delay pattern: what its labels look like in time.

A codec describes each frame of sound by several codes, coarse to fine. MusicGen predicts all of them at every
step, each codebook one step after the one before, so that a fine code is predicted after its coarse ones
(Copet et al. 2023, arXiv:2306.05284, figure 1):

    step        0   1   2   3   4
    codebook 0  a0  b0  c0  .   .
    codebook 1  .   a1  b1  c1  .
    codebook 2  .   .   a2  b2  c2
"""

import numpy as np

IGNORED = -100  # the loss leaves it out, and the model reads it as padding


def delay(codes: np.ndarray) -> np.ndarray:
    """Codes (codebooks, frames) to labels (frames + codebooks - 1, codebooks), `IGNORED` around them."""
    n_codebooks, n_frames = codes.shape
    labels = np.full((n_frames + n_codebooks - 1, n_codebooks), IGNORED, dtype=np.int64)
    for codebook in range(n_codebooks):
        labels[codebook : codebook + n_frames, codebook] = codes[codebook]
    return labels


def pad(labels: list[np.ndarray]) -> np.ndarray:
    """Put the labels of some clips into one array (batch, longest, codebooks)."""
    longest = max(len(item) for item in labels)
    padded = np.full((len(labels), longest, labels[0].shape[1]), IGNORED, dtype=np.int64)
    for row, item in zip(padded, labels, strict=True):
        row[: len(item)] = item
    return padded


def check(labels: np.ndarray, *, n_codebooks: int, codebook_size: int) -> None:
    """Refuse labels that are not (batch, time, codebooks) in the delay pattern.

    The model takes them all the same and learns noise, at a loss above ln(`codebook_size`).

    Raises:
        ValueError: the codebooks are not last, not delayed, or hold codes that the codec does not have.
    """
    if labels.ndim != 3 or labels.shape[2] != n_codebooks:
        raise ValueError(f"labels must be (batch, time, {n_codebooks} codebooks), not {labels.shape}")
    is_code = labels != IGNORED
    starts = is_code.argmax(axis=1)  # (batch, codebooks): the first step with a code
    lengths = is_code.sum(axis=1)
    if (starts != np.arange(n_codebooks)).any() or (lengths != lengths[:, :1]).any():
        raise ValueError("each codebook must start one step after the one before and be as long")
    codes = labels[is_code]
    if codes.min() < 0 or codes.max() >= codebook_size:
        raise ValueError(f"codes must be from 0 to {codebook_size - 1}")
