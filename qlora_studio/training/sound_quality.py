"""How near a made sound is to a recording, and how well it fits its text."""

from pathlib import Path
from typing import Any

import numpy as np

from qlora_studio.training.failures import ModelNotUsable

N_MELS = 64
_RATE = 16_000
_FFT = 1024
_HOP = 256
_FLOOR_DB = 80.0
_CLAP_RATE = 48_000


def mel_distance(sound: np.ndarray, reference: np.ndarray, rate: int) -> float:
    """Return the mean absolute difference of two log-mel spectrograms in dB.

    Both sounds (float32, shape (n,)) are cut to the shorter one, brought to 16 kHz and turned into 64 mel
    bands with windows of 64 ms every 16 ms; each cell is power in dB, not below 80 dB under full scale. 0 is
    the same sound. Cells are compared in place, so a sound that is right but comes a little later is far
    away: read the figure beside that of the base model, and listen.
    """
    n_samples = min(len(sound), len(reference))
    if n_samples == 0:
        return _FLOOR_DB
    first, second = (_log_mel(samples[:n_samples], rate) for samples in (sound, reference))
    return float(np.abs(first - second).mean())


def _log_mel(samples: np.ndarray, rate: int) -> np.ndarray:
    """Power in dB, shape (bands, frames), from -`_FLOOR_DB`."""
    import librosa
    import soxr

    samples = np.asarray(samples, dtype=np.float32)
    samples = samples if rate == _RATE else soxr.resample(samples, rate, _RATE)
    samples = np.pad(samples, (0, max(0, _FFT - len(samples))))
    power = librosa.feature.melspectrogram(y=samples, sr=_RATE, n_fft=_FFT, hop_length=_HOP, n_mels=N_MELS)
    return np.maximum(librosa.power_to_db(power, top_db=None), -_FLOOR_DB)


class Clap:
    """Cosine similarity of a sound and a text, by a CLAP model (Wu et al. 2023, arXiv:2211.06687).

    Raises:
        ModelNotUsable: the folder holds no CLAP model in safetensors.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import ClapModel, ClapProcessor

        try:
            self._model = ClapModel.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
            ).eval()
            self._processor = ClapProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelNotUsable("The CLAP model cannot be loaded. Check QLORA_STUDIO_CLAP_MODEL.") from error

    def score(self, text: str, sound: np.ndarray, rate: int) -> float:
        """Return how well a sound (float32, shape (n,)) fits a text, from -1 to 1."""
        import soxr
        import torch

        samples = sound if rate == _CLAP_RATE else soxr.resample(sound, rate, _CLAP_RATE)
        inputs: Any = self._processor(
            text=[text], audio=[samples], sampling_rate=_CLAP_RATE, return_tensors="pt", padding=True
        )
        with torch.no_grad():
            found = self._model(**inputs)
        return float(torch.nn.functional.cosine_similarity(found.audio_embeds, found.text_embeds)[0])
