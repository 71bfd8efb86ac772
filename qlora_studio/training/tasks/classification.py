"""Audio classification: one label a clip. AST, Wav2Vec2 and its relatives, Whisper's encoder."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training import metrics
from qlora_studio.training.clips import ClipSets, classes_of, label_of, read_labelled_clips
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.tasks import heads, waves, windows
from qlora_studio.training.tasks.base import (
    AudioTask,
    Batch,
    Features,
    Output,
    Prediction,
    Values,
    without_adapter_wrapper,
)

WAVE_S = 30.0
_AST_FRAME_S = 0.01
_SPARE_S = 0.1  # AST's last frame reaches beyond its window; extractors cut by themselves
_N_TOP = 3


class ClassificationTask(AudioTask):
    """Which of a few classes a clip belongs to. The classes are the labels of the training clips."""

    preset_epochs = 10.0
    samples_worst_first = True
    card_tag = "audio-classification"
    card_note = (
        "Accuracy and macro F1 are fractions: 0.9 is 90 %. The confusion matrix is in `qlora_studio.json`."
    )

    def __init__(self, model_path: Path, config: dict[str, Any], *, is_windowed: bool) -> None:
        super().__init__(model_path, config)
        self._is_windowed = is_windowed
        self.gains_from_buckets = not is_windowed  # every clip costs the same window
        self.max_clip_s = _window_s(self.processor) if is_windowed else WAVE_S
        self.classes: list[str] = []
        self._ids: dict[str, int] = {}
        self._has_new_head = True
        self._own_classes: list[str] = []
        self._own_head: Any = None
        self._has_short_windows = False
        self._ear: waves.Ear | None = None

    def _load_processor(self, model_path: Path) -> Any:
        from transformers import AutoFeatureExtractor

        try:
            return AutoFeatureExtractor.from_pretrained(
                model_path, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ModelNotUsable("The model's feature extractor cannot be loaded.") from error

    @property
    def feature_extractor(self) -> Any:
        return self.processor

    @property
    def _input_name(self) -> str:
        return self.processor.model_input_names[0]

    def read_clips(self, path: Path) -> ClipSets:
        return read_labelled_clips(path)

    def target(self, clip: ClipItem) -> str:
        return label_of(clip)

    def length_of(self, clip: ClipItem) -> float:
        return min(clip.duration_s, self.max_clip_s)

    def features(self, samples: np.ndarray) -> Features:
        """The beginning of a clip, as long as the model takes it.

        Returns:
            A trimmed window (`windows`), or an unpadded clip (`waves`).
        """
        spare_s = _SPARE_S if self._is_windowed else 0.0
        samples = samples[: round((self.max_clip_s + spare_s) * self.sampling_rate)]
        if not self._is_windowed:
            clip = waves.extract(self.processor, samples)
            return self._ear.hear(clip) if self._ear else clip
        extracted = self.processor(samples, sampling_rate=self.sampling_rate, return_tensors="np")
        window = np.asarray(extracted[self._input_name][0], dtype=np.float32)
        return windows.trim(window.T if self._frames_first else window)

    def encode(self, target: str) -> list[int]:
        return [self._ids[target]]

    def decode(self, ids: Sequence[int]) -> str | None:
        return self.classes[ids[0]]

    def collate(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """Standard windows (AST: (batch, frames, bins), Whisper: (batch, bins, frames)) or padded clips.

        `labels` are (batch,).
        """
        if self._is_windowed:
            return self._collate_windows(features, labels, self._n_frames)
        batch = waves.pad(features, name=self._input_name, with_mask=waves.uses_mask(self.config))
        return {**batch, "labels": _tensor(labels)}

    def collate_for_training(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """The same in a short window, for most batches of fast mode."""
        if not self._has_short_windows or windows.is_standard(labels):
            return self.collate(features, labels)
        n_frames = [item["mel"].shape[1] for item in features]
        shortest = windows.short_frames(n_frames, longest=self._n_frames)
        return self._collate_windows(features, labels, shortest)

    def pieces(self, batch: Batch) -> list[Batch]:
        if not self._has_short_windows:
            return [batch]
        n_frames = batch[self._input_name].shape[1 if self._frames_first else 2]
        return windows.in_pieces(batch, n_frames, longest=self._n_frames)

    def _collate_windows(
        self, features: Sequence[Features], labels: Sequence[list[int]], n_frames: int
    ) -> Batch:
        mels, fills = [item["mel"] for item in features], [item["fill"] for item in features]
        window = torch.from_numpy(windows.fill_window(mels, fills, n_frames))
        return {
            self._input_name: window.transpose(1, 2).contiguous() if self._frames_first else window,
            "labels": _tensor(labels),
        }

    @property
    def _n_frames(self) -> int:
        """Frames of the standard window, of Whisper's extractor or AST's."""
        return int(getattr(self.processor, "nb_max_frames", None) or self.processor.max_length)

    @property
    def _frames_first(self) -> bool:
        return self._input_name == "input_values"  # AST

    def predict(self, model: Any, batch: Batch) -> Prediction:
        output = model(**batch)
        outputs = []
        for probabilities in self._probabilities(output.logits):
            outputs.append(Output(max(probabilities, key=probabilities.__getitem__), probabilities))
        return Prediction(outputs, float(output.loss))

    def classify(self, model: Any, features: Features) -> dict[str, float]:
        """Return how likely each class is for one clip, without gradients and in evaluation mode."""
        batch = self.collate([features], [[0]])
        del batch["labels"]
        batch = {key: tensor.to(model.device) for key, tensor in batch.items()}
        return self._probabilities(model(**batch).logits)[0]

    def _probabilities(self, logits: Any) -> list[dict[str, float]]:
        rows = logits.float().softmax(dim=-1).tolist()
        return [dict(zip(self.classes, row, strict=True)) for row in rows]

    def metrics(self, targets: Sequence[str], outputs: Sequence[Output]) -> Values:
        """Accuracy and macro F1."""
        return metrics.class_rates(targets, [output.text for output in outputs])

    def error(self, target: str, output: Output) -> float | None:
        """1 minus the probability of the right class."""
        return 1.0 - (output.probabilities or {}).get(target, 0.0)

    def report(self, targets: Sequence[str], outputs: Sequence[Output]) -> dict[str, Any]:
        """`classes`, and `confusion_matrix` in their order: rows are labels, columns what was heard."""
        matrix = metrics.confusion_matrix(targets, [output.text for output in outputs], self.classes)
        return {"classes": self.classes, "confusion_matrix": matrix}

    def sample(self, output: Output) -> dict[str, Any]:
        """`top`: the likeliest classes, the likeliest first."""
        ranked = sorted((output.probabilities or {}).items(), key=lambda item: -item[1])
        return {"top": [{"label": label, "probability": p} for label, p in ranked[:_N_TOP]]}

    def prepare(self, model: Any, clips: ClipSets) -> list[tuple[str, str]]:
        """Give the model a new head for the classes, unless its own has just these."""
        classes = classes_of(clips.train)
        own = heads.labels_of(model.config)
        self._has_new_head = sorted(own) != classes
        self.classes = classes if self._has_new_head else own
        self._ids = {label: index for index, label in enumerate(self.classes)}
        if self._has_new_head:
            heads.replace_head(model, self.classes)
        model.config.problem_type = "single_label_classification"
        heads.make_steady(model.config, shortest_s=min(clip.duration_s for clip in clips.train))
        n_cut = sum(clip.duration_s > self.max_clip_s for clip in (*clips.train, *clips.validation))
        if not n_cut:
            return []
        return [
            (
                "clips_cut",
                f"{n_cut} clips are longer than {self.max_clip_s:g} s; only their beginning is used.",
            )
        ]

    def speed_up(self, model: Any) -> bool:
        """Train mostly in short windows; or hear each clip once, where the convolutions are frozen."""
        if not self._is_windowed:
            self._ear = waves.Ear.of(model)
            return self._ear is not None
        base = without_adapter_wrapper(model)
        if self._frames_first:
            windows.take_short_patches(base.get_submodule(f"{base.base_model_prefix}.embeddings"))
        else:
            windows.take_short_windows(base.encoder)
        self._has_short_windows = self.gains_from_buckets = True
        return False

    def expected_first_loss(self) -> float | None:
        """The natural logarithm of the number of classes, for a new head."""
        return math.log(len(self.classes)) if self._has_new_head else None

    def loading_arguments(self) -> str:
        if not self._has_new_head:
            return ""
        return f",\n    num_labels={len(self.classes)}, ignore_mismatched_sizes=True"

    def wants_other_head(self, metadata: dict[str, Any]) -> bool:
        wanted = metadata.get("classes")
        return bool(self.classes) and (self._own_classes if wanted is None else wanted) != self.classes

    def adopt(self, model: Any, metadata: dict[str, Any]) -> None:
        """Put on a head for the run's classes, for its adapter to fill; without any, the model's own."""
        if self._own_head is None:
            self._own_classes, self._own_head = heads.labels_of(model.config), getattr(*heads.head_of(model))
        wanted = metadata.get("classes", self._own_classes)
        if wanted == self.classes:
            return
        if sorted(wanted) == sorted(self._own_classes):
            wanted = self._own_classes
            setattr(*heads.head_of(model), self._own_head)
            heads.name_classes(model, wanted)
        else:
            heads.replace_head(model, wanted)
        self.classes = wanted

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "classes": self.classes, "max_clip_s": self.max_clip_s}


def _tensor(labels: Sequence[list[int]]) -> torch.Tensor:
    return torch.tensor([ids[0] for ids in labels], dtype=torch.long)


def _window_s(extractor: Any) -> float:
    """Seconds in the window of Whisper's extractor, which names them, or AST's, which counts frames."""
    return float(getattr(extractor, "chunk_length", None) or extractor.max_length * _AST_FRAME_S)
