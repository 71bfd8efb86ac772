"""The codec's weights, computed: principal components of windows of sound, and k-means of what is left.

EnCodec (Défossez et al. 2022, arXiv:2210.13438) is trained by gradients and a discriminator, for days. Ours
hears a handful of sounds by formula, for which linear algebra does: the encoder's convolutions cut the sound
into half-overlapping sine windows and project them onto their first principal components; the
decoder's lay the windows over each other again. ELU is the identity above zero, so each layer lifts what it
passes on by a constant that the next one takes off.
"""

from typing import Any

import numpy as np
import torch

from scripts.starter_sound.blueprint import CODEBOOK_SIZE, STRIDES, WIDTH
from scripts.starter_sound.sounds import FRAME

WINDOW = 2 * FRAME
N_COMPONENTS = WIDTH - 1  # the last channel takes off the decoder's lift
_STEP = STRIDES[0]
_LIFT = 8.0  # more than any value that a layer passes on
_SCALE = 0.25  # of the frames that are quantised, so that they stay below the lift


def components_of(sounds: list[np.ndarray]) -> np.ndarray:
    """Principal components (`N_COMPONENTS`, `WINDOW`) of the windows of sounds (n,); rows orthonormal."""
    frames = np.concatenate([_windows(sound) for sound in sounds])
    _, vectors = np.linalg.eigh(frames.T @ frames)
    return np.ascontiguousarray(vectors[:, ::-1][:, :N_COMPONENTS].T)


def fill(codec: Any, components: np.ndarray) -> None:
    """Put analysis and synthesis by `components` into an EnCodec's layers."""
    basis = torch.from_numpy((components * _sine()).astype(np.float32))
    # A window's samples as (samples of a step, steps of the second stage), one row for each component.
    by_step = torch.zeros(WIDTH, _STEP, WINDOW // _STEP)
    by_step[:N_COMPONENTS] = basis.reshape(N_COMPONENTS, WINDOW // _STEP, _STEP).permute(0, 2, 1)
    identity = torch.eye(WIDTH)[:, :, None]
    with torch.no_grad():
        for part in [*codec.encoder.modules(), *codec.decoder.modules()]:
            if type(part).__name__ == "EncodecLSTM":
                for weight in part.parameters():
                    weight.zero_()
        for half in (codec.encoder, codec.decoder):
            for convolution in _convolutions(half, inside=True):
                _set(convolution, torch.zeros_like(convolution.weight), 0.0)

        first, to_steps, to_frames, last = _convolutions(codec.encoder)
        copy = torch.zeros_like(first.weight)
        copy[0] = 1.0
        _set(first, copy, _LIFT)
        gather = torch.zeros_like(to_steps.weight)
        for sample in range(_STEP):  # sample i of a step into channel i, its lift with it
            gather[sample, 0, _STEP // 2 + sample] = 1.0
        _set(to_steps, gather, 0.0)
        project = torch.zeros_like(to_frames.weight)
        project[:, :_STEP] = _SCALE * by_step
        _set(to_frames, project, _LIFT - _LIFT * project.sum(dim=(1, 2)))
        _set(last, identity, -_LIFT)

        first, to_steps, to_samples, last = _convolutions(codec.decoder)
        keep = identity.clone()
        keep[-1] = 0.0
        _set(first, keep, _LIFT)
        spread = torch.zeros_like(to_steps.weight)
        spread[:, :_STEP] = by_step / _SCALE
        spread[-1] = -spread[:-1].sum(dim=0)  # each place of a window has another sum of lifts
        _set(to_steps, spread, _LIFT)
        scatter = torch.zeros_like(to_samples.weight)
        for sample in range(_STEP):
            scatter[sample, 0, _STEP // 2 + sample] = 1.0
        _set(to_samples, scatter, 0.0)
        mono = torch.zeros_like(last.weight)
        mono[0, 0] = 1.0
        _set(last, mono, -_LIFT)


def learn_codebooks(
    codec: Any, sounds: torch.Tensor, *, n_frames: int = 150_000, rounds: int = 12
) -> list[float]:
    """Fill the codebooks by k-means, each with what the ones before it left.

    Args:
        codec: With the layers of `fill`.
        sounds: (sounds, samples).
        n_frames: To learn from, drawn from the frames that are not silent.
        rounds: Of k-means for each codebook.

    Returns:
        The share of energy that is left after each codebook.
    """
    torch.manual_seed(0)
    with torch.no_grad():
        parts = [codec.encoder(part[:, None]).transpose(1, 2).flatten(0, 1) for part in sounds.split(256)]
        frames = torch.cat(parts)
        frames = frames[frames.pow(2).sum(1) > 1e-5]
        frames = frames[torch.randperm(len(frames))[:n_frames]]
        total, left = frames.pow(2).sum(), []
        for layer in codec.quantizer.layers:
            book = layer.codebook
            book.embed.copy_(_k_means(frames, rounds))
            book.embed_avg.zero_()
            frames = frames - book.embed[_nearest(frames, book.embed)]
            left.append(float(frames.pow(2).sum() / total))
    return left


def encode(codec: Any, sounds: torch.Tensor) -> np.ndarray:
    """Sounds (sounds, samples) to codes (sounds, codebooks, frames), int16."""
    with torch.no_grad():
        codes = [codec.encode(part[:, None]).audio_codes[0] for part in sounds.split(8)]
    return torch.cat(codes).numpy().astype(np.int16)


def decode(codec: Any, codes: np.ndarray) -> np.ndarray:
    """Codes (sounds, codebooks, frames) to sounds (sounds, samples)."""
    with torch.no_grad():
        parts = torch.from_numpy(codes.astype(np.int64)).split(64)
        sounds = [codec.decode(part[None], [None]).audio_values[:, 0] for part in parts]
    return torch.cat(sounds).numpy()


def _windows(sound: np.ndarray) -> np.ndarray:
    """Half-overlapping sine windows (frames, `WINDOW`) of a sound (n,), centred on its frames."""
    n_frames = -(-len(sound) // FRAME)
    padded = np.pad(sound, (FRAME // 2, n_frames * FRAME - len(sound) + FRAME // 2))
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::FRAME] * _sine()


def _sine() -> np.ndarray:
    return np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW).astype(np.float32)


def _convolutions(half: Any, *, inside: bool = False) -> list[Any]:
    """The four convolutions of an encoder or decoder, or those `inside` its residual blocks."""
    blocks = [layer for layer in half.layers if type(layer).__name__ == "EncodecResnetBlock"]
    if inside:
        return [layer.conv for block in blocks for layer in block.block if hasattr(layer, "conv")]
    return [layer.conv for layer in half.layers if hasattr(layer, "conv")]


def _set(convolution: Any, weight: torch.Tensor, bias: torch.Tensor | float) -> None:
    """Set a weight-normed convolution: a direction and a length for each row."""
    length = weight.flatten(1).norm(dim=1)[:, None, None]
    parts = convolution.parametrizations.weight
    parts.original0.copy_(length)
    parts.original1.copy_(torch.where(length > 0, weight, torch.ones_like(weight)))
    convolution.bias.copy_(torch.as_tensor(bias, dtype=torch.float32))


def _k_means(points: torch.Tensor, rounds: int) -> torch.Tensor:
    """`CODEBOOK_SIZE` centres of points (n, width). The first stays at zero: for silence."""
    energy = points.pow(2).sum(1)
    # Loud and quiet points both have to be among the first centres: a decay is a row of levels.
    chosen = torch.multinomial(energy.sqrt() + 1e-3, CODEBOOK_SIZE, replacement=False)
    centres = points[chosen].clone()
    centres[0] = 0.0
    for _ in range(rounds):
        nearest = _nearest(points, centres)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        counts = torch.bincount(nearest, minlength=len(centres)).float()
        centres = sums / counts.clamp(min=1.0)[:, None]
        empty = counts == 0
        n_empty = int(empty.sum())
        if n_empty:
            centres[empty] = points[torch.multinomial(energy, n_empty, replacement=False)]
        centres[0] = 0.0
    return centres


def _nearest(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    lengths = centres.pow(2).sum(1)
    return torch.cat([(lengths - 2 * part @ centres.T).argmin(1) for part in points.split(16_384)])
