"""Clips of any length for models on waveforms or log-mel frames: one at a time, then padded to a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from qlora_studio.training.tasks.base import Batch, Features, without_adapter_wrapper

_HEARD, _N_SAMPLES = "heard", "n_samples"


def extract(extractor: Any, samples: np.ndarray) -> Features:
    """One clip, unpadded: `input_values` (samples,) or `input_features` (frames, bins)."""
    extracted = extractor(
        samples, sampling_rate=extractor.sampling_rate, return_attention_mask=True, return_tensors="np"
    )
    name = extractor.model_input_names[0]
    n_real = int(extracted["attention_mask"][0].sum())
    return {name: np.asarray(extracted[name][0][:n_real], dtype=np.float32)}


def length(item: Features, *, name: str) -> int:
    """Samples, or frames of a filter bank, of one clip; also of one that an `Ear` has heard."""
    return int(item[_N_SAMPLES]) if _HEARD in item else len(item[name])


def pad(features: Sequence[Features], *, name: str, with_mask: bool) -> Batch:
    """Pad with zeros to the longest clip of the batch; `attention_mask` (batch, longest) is 1 on sound.

    What an `Ear` has heard (batch, frames, width) always has its mask, which counts samples.
    """
    is_heard = _HEARD in features[0]
    lengths = [length(item, name=name) for item in features]
    batch: Batch = {name: _stack([item[_HEARD if is_heard else name] for item in features])}
    if with_mask or is_heard:
        mask = np.arange(max(lengths))[None, :] < np.array(lengths)[:, None]
        batch["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
    return batch


def _stack(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    padded = np.zeros((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), dtype=np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(padded)


def uses_mask(config: dict[str, Any]) -> bool:
    """Whether a family was trained with a mask over its padding.

    Models with a group norm in the first convolution have seen zero padding and no mask.
    """
    return config.get("feat_extract_norm", "layer") != "group"


class Ear:
    """The convolutions of a waveform model, when they are frozen: they hear each clip once, alone.

    Without padding beside it a clip is heard as it is at inference, also by the families whose group norm
    would count the padding in; the mask keeps the rest of the model to the clip as well.
    """

    def __init__(self, convolutions: Any) -> None:
        self._convolutions = convolutions
        self._hear = convolutions.forward
        convolutions.forward = self._forward

    @classmethod
    def of(cls, model: Any) -> "Ear | None":
        """The ear of a model; None where it has none or trains it."""
        base = without_adapter_wrapper(model)
        convolutions = getattr(getattr(base, base.base_model_prefix), "feature_extractor", None)
        if convolutions is None or any(p.requires_grad for p in convolutions.parameters()):
            return None
        return cls(convolutions)

    def _forward(self, sound: torch.Tensor) -> torch.Tensor:
        """Samples (batch, n) as ever; what was heard already (batch, frames, width) passes through."""
        return sound.transpose(1, 2) if sound.dim() == 3 else self._hear(sound)

    def hear(self, item: Features) -> Features:
        """Turn what `extract` made of a clip into `heard` (frames, width) and `n_samples` ()."""
        (samples,) = item.values()
        device = next(self._convolutions.parameters()).device
        with torch.no_grad():
            heard = self._hear(torch.from_numpy(samples)[None].to(device))
        return {_HEARD: heard[0].T.float().cpu().numpy().copy(), _N_SAMPLES: np.asarray(len(samples))}


def leave_ear_alone(model: Any) -> None:
    """Spare frozen convolutions a backward pass: by themselves they ask for the gradient of the sound."""
    for module in model.modules():
        if hasattr(module, "conv_layers") and not any(p.requires_grad for p in module.parameters()):
            module._requires_grad = False
