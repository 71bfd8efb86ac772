"""Clips of any length for models on waveforms or log-mel frames: one at a time, then padded to a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from qlora_studio.training.tasks.base import Batch, Features


def extract(extractor: Any, samples: np.ndarray) -> Features:
    """One clip, unpadded: `input_values` (samples,) or `input_features` (frames, bins)."""
    extracted = extractor(
        samples, sampling_rate=extractor.sampling_rate, return_attention_mask=True, return_tensors="np"
    )
    name = extractor.model_input_names[0]
    n_real = int(extracted["attention_mask"][0].sum())
    return {name: np.asarray(extracted[name][0][:n_real], dtype=np.float32)}


def pad(features: Sequence[Features], *, name: str, with_mask: bool) -> Batch:
    """Pad with zeros to the longest clip of the batch; `attention_mask` (batch, longest) is 1 on sound."""
    arrays = [item[name] for item in features]
    longest = max(len(array) for array in arrays)
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), dtype=np.float32)
    mask = np.zeros((len(arrays), longest), dtype=np.int64)
    for index, array in enumerate(arrays):
        padded[index, : len(array)] = array
        mask[index, : len(array)] = 1
    batch: Batch = {name: torch.from_numpy(padded)}
    if with_mask:
        batch["attention_mask"] = torch.from_numpy(mask)
    return batch


def uses_mask(config: dict[str, Any]) -> bool:
    """Whether a family was trained with a mask over its padding.

    Models with a group norm in the first convolution have seen zero padding and no mask.
    """
    return config.get("feat_extract_norm", "layer") != "group"
