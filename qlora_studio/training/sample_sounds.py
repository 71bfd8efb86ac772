"""Sounds made for the panel, kept in the run's folder for people to hear."""

import io
from typing import Any

import numpy as np
import soundfile

from qlora_studio.contracts.spec import SAMPLES_FOLDER
from qlora_studio.training.attempt import Attempt
from qlora_studio.training.evaluation import Evaluator, Outcome

BASE = "base"


class SampleSounds:
    """Writes `samples/<evaluation>/<number>.flac`, numbered as the panel is.

    A sound that can't be written costs that sound only: a full disk is met, and told of, where a
    checkpoint is saved.
    """

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._has_warned = False

    def keep(self, evaluation: str, outcome: Outcome, evaluator: Evaluator) -> dict[str, dict[str, Any]]:
        """Write the sounds of an evaluation.

        Args:
            evaluation: the step, or `BASE`.

        Returns:
            By clip id what its `sample` event tells: `sound` and `base_sound`, names under the run's folder.
        """
        told: dict[str, dict[str, Any]] = {}
        for number, clip in enumerate(evaluator.panel):
            sound = outcome.outputs[clip.id].sound
            if sound is None:
                continue
            name = self._write(f"{SAMPLES_FOLDER}/{evaluation}/{number}.flac", sound, evaluator.sampling_rate)
            base = f"{SAMPLES_FOLDER}/{BASE}/{number}.flac"
            has_base = (self._attempt.spec.run_path / base).is_file()
            told[clip.id] = {"sound": name, "base_sound": base if has_base else None}
        return told

    def _write(self, name: str, sound: np.ndarray, rate: int) -> str | None:
        path = self._attempt.spec.run_path / name
        encoded = io.BytesIO()
        soundfile.write(encoded, np.clip(sound, -1.0, 1.0), rate, format="FLAC", subtype="PCM_16")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded.getvalue())
        except OSError as error:
            if not self._has_warned:
                self._attempt.warn("sample_lost", f"A sample could not be kept: {error.strerror}.")
            self._has_warned = True
            return None
        return name
