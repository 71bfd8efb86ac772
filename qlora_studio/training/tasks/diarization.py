"""Speaker diarization, frame by frame: Wav2Vec2, WavLM, Wav2Vec2-Conformer, Wav2Vec2-BERT."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import median_filter

from qlora_studio.audio import turns
from qlora_studio.audio.turns import Turn
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.training import diarization_error, recordings
from qlora_studio.training.clips import MAX_SPEAKERS, ClipSets, n_speakers_of, read_diarized_clips
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.permutations import PADDING, permutation_free_loss
from qlora_studio.training.tasks import heads, waves
from qlora_studio.training.tasks.base import AudioTask, Batch, Features, Output, Prediction, Values

THRESHOLD = 0.5
SMOOTHING_S = 0.3  # speech or silence shorter than half of it is taken for an accident
_MIN_SPEAKERS = 2
_FBANK_HOP_S = 0.01


class DiarizationTask(AudioTask):
    """Each frame gets a probability for each of a few speakers, who have numbers instead of names.

    The target of a clip is lines of RTTM. End-to-end diarization as in Fujita et al. 2019, arXiv:1909.05952.
    """

    max_clip_s = recordings.WINDOW_S
    preset_epochs = 10.0
    samples_worst_first = True
    has_own_loss = True
    card_tag = "speaker-diarization"
    card_note = (
        "DER and its parts are shares of the time spoken: 0.1 is 10 %. No collar, overlapping speech counts. "
        "A sigmoid of the logits says for each speaker and frame whether they speak."
    )

    def __init__(self, model_path: Path, config: dict[str, Any]) -> None:
        super().__init__(model_path, config)
        self.n_speakers = _MIN_SPEAKERS
        self.frame_s = _frame_s(config, self.processor)
        self._own_outputs = heads.outputs_on_disk(model_path)
        self._own_head: Any = None
        self._dropped: list[tuple[str, str]] = []
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

    def read_clips(self, path: Path) -> ClipSets:
        """Recordings with segments; those to train on cut into pieces of at most 20 s."""
        sets = read_diarized_clips(path)
        most = max(n_speakers_of(clip) for clip in sets.train)
        self.n_speakers = min(max(most, _MIN_SPEAKERS), MAX_SPEAKERS)
        self._dropped = _warnings(sets)
        pieces = [piece for clip in sets.train for piece in recordings.cut_evenly(clip)]
        return ClipSets(pieces, sets.validation, sets.dropped)

    def parts(self, clip: ClipItem) -> list[ClipItem]:
        return recordings.cut_overlapping(clip)

    def target(self, clip: ClipItem) -> str:
        return clip.text or ""

    def features(self, samples: np.ndarray) -> Features:
        """A clip, unpadded, at most one window of it (`waves`)."""
        clip = waves.extract(self.processor, samples[: round(self.max_clip_s * self.sampling_rate)])
        return self._ear.hear(clip) if self._ear else clip

    def encode(self, target: str) -> list[int]:
        """Speaker's number, start and end in milliseconds of each turn, one after the other.

        If more speak than the head has outputs, those who speak most are kept.
        """
        said = turns.from_rttm(target)
        seconds = {
            name: sum(t.duration_s for t in said if t.speaker == name) for name in turns.speakers_of(said)
        }
        kept = sorted(seconds, key=lambda name: -seconds[name])[: self.n_speakers]
        ids: list[int] = []
        for turn in said:
            if turn.speaker in kept:
                times = (round(1000 * turn.start_s), round(1000 * turn.end_s))
                ids += [kept.index(turn.speaker), *times]
        return ids

    def collate(self, features: Sequence[Features], labels: Sequence[list[int]]) -> Batch:
        """Padded clips and `labels` (batch, frames, speakers), see `permutation_free_loss`."""
        name = self.processor.model_input_names[0]
        lengths = [self._count_frames(waves.length(item, name=name)) for item in features]
        frames = np.full((len(features), max(lengths), self.n_speakers), PADDING, dtype=np.float32)
        for row, length, ids in zip(frames, lengths, labels, strict=True):
            row[:length] = 0.0
            middles_ms = 1000 * self.frame_s * (np.arange(length) + 0.5)
            for speaker, start, end in zip(ids[::3], ids[1::3], ids[2::3], strict=True):
                row[:length][(start <= middles_ms) & (middles_ms < end), speaker] = 1.0
        batch = waves.pad(features, name=name, with_mask=waves.uses_mask(self.config))
        return {**batch, "labels": torch.from_numpy(frames)}

    def _count_frames(self, length: int) -> int:
        """How many frames the encoder makes of so many samples, or of frames of a filter bank."""
        for kernel, stride in zip(*_convolutions(self.config), strict=True):
            length = (length - kernel) // stride + 1
        return max(length, 0)

    def loss(self, model: Any, batch: Batch) -> Any:
        """Permutation-free. The library's own knows one speaker a frame, which is wrong for overlaps."""
        return permutation_free_loss(_logits(model, batch), batch["labels"])

    def diarize(
        self, model: Any, samples: np.ndarray, *, report: Callable[[float], None] = lambda _: None
    ) -> Output:
        """Who speaks when in a recording of any length, without gradients and in evaluation mode.

        Args:
            samples: float32 (n,), at `sampling_rate`.
            report: told how far it is, 0 to 1, before each window; what it raises ends the work.
        """
        starts = recordings.window_starts(len(samples) / self.sampling_rate)
        pieces = []
        for index, start_s in enumerate(starts):
            report(index / len(starts))
            features = self.features(samples[round(start_s * self.sampling_rate) :])
            batch = self.collate([features], [[]])
            n_frames = batch["labels"].shape[1]
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            activity = _logits(model, batch)[0, :n_frames].float().sigmoid().cpu().numpy()
            pieces.append((round(start_s / self.frame_s), activity))
        return self._answer(recordings.join(pieces))

    def predict(self, model: Any, batch: Batch) -> Prediction:
        logits = _logits(model, batch).float()
        loss = float(permutation_free_loss(logits, batch["labels"]))
        lengths = (batch["labels"][..., 0] != PADDING).sum(dim=1).tolist()
        activities = logits.sigmoid().cpu().numpy()
        return Prediction(
            [self._answer(activity[:length]) for activity, length in zip(activities, lengths, strict=True)],
            loss,
        )

    def _answer(self, activity: np.ndarray, file_id: str = "recording") -> Output:
        """Turns out of (frames, speakers) between 0 and 1: a threshold, then a median over some frames."""
        n_frames = 2 * round(SMOOTHING_S / self.frame_s / 2) + 1
        speaks = median_filter((activity > THRESHOLD).astype(np.uint8), size=(n_frames, 1), mode="constant")
        edges = np.diff(np.pad(speaks.astype(np.int8), ((1, 1), (0, 0))), axis=0)
        segments = [
            Turn(start * self.frame_s, (end - start) * self.frame_s, name)
            for speaker, name in enumerate(_names(activity.shape[1]))
            for start, end in zip(
                np.flatnonzero(edges[:, speaker] == 1).tolist(),
                np.flatnonzero(edges[:, speaker] == -1).tolist(),
                strict=True,
            )
        ]
        return Output(turns.to_rttm(file_id, segments), segments=sorted(segments), activity=activity)

    def join(self, clip: ClipItem, outputs: Sequence[Output]) -> Output:
        """One answer for a recording, under the name that its reference has for it."""
        starts = (round((piece.start_s - clip.start_s) / self.frame_s) for piece in self.parts(clip))
        activities = [output.activity for output in outputs if output.activity is not None]
        joined = recordings.join(list(zip(starts, activities, strict=True)))
        return self._answer(joined, turns.file_id_of(clip.text or "") or clip.id)

    def metrics(self, targets: Sequence[str], outputs: Sequence[Output]) -> Values:
        """The diarization error rate and its three parts."""
        return diarization_error.rates(_pairs(targets, outputs))

    def error(self, target: str, output: Output) -> float | None:
        """The diarization error rate of one recording."""
        return diarization_error.rates(_pairs([target], [output]))["der"]

    def is_broken(self, target: str, output: Output) -> bool:
        """Whether nobody is heard where somebody speaks."""
        return not output.segments and bool(turns.from_rttm(target))

    def report(self, targets: Sequence[str], outputs: Sequence[Output]) -> dict[str, Any]:
        """`n_speakers`, and `baselines`: the error rates of "nobody speaks" and of "one does, always"."""
        everywhere = [
            Output("", segments=[Turn(0.0, len(o.activity) * self.frame_s, "one")])
            for o in outputs
            if o.activity is not None
        ]
        one = diarization_error.rates(_pairs(targets, everywhere))["der"]
        nobody = None if one is None else 1.0
        return {"n_speakers": self.n_speakers, "baselines": {"nobody": nobody, "one_speaker": one}}

    def files(self, targets: Sequence[str], outputs: Sequence[Output]) -> dict[str, str]:
        """All answers and all references as RTTM, so that other tools can compare them."""
        answers = [output.text for output in outputs]
        return {"output.rttm": _rttm_file(answers), "reference.rttm": _rttm_file(targets)}

    def prepare(self, model: Any, clips: ClipSets) -> list[tuple[str, str]]:
        """Give the model a new head, unless its own has as many outputs as there are speakers."""
        if self._has_new_head:
            heads.replace_head(model, _names(self.n_speakers))
        heads.make_steady(model.config, shortest_s=min(clip.duration_s for clip in clips.train))
        return self._dropped

    def speed_up(self, model: Any) -> bool:
        """Hear each clip once, where the convolutions are frozen."""
        self._ear = waves.Ear.of(model)
        return self._ear is not None

    def wants_other_head(self, metadata: dict[str, Any]) -> bool:
        return self._own_head is not None and self._wanted(metadata) != self.n_speakers

    def adopt(self, model: Any, metadata: dict[str, Any]) -> None:
        """Put on a head for the run's speakers, for its adapter to fill; without any, the model's own."""
        if self._own_head is None:
            self._own_head, self.n_speakers = getattr(*heads.head_of(model)), model.config.num_labels
        wanted = self._wanted(metadata)
        if wanted == self.n_speakers:
            return
        if wanted == self._own_head.out_features:
            setattr(*heads.head_of(model), self._own_head)
            heads.name_classes(model, _names(wanted))
        else:
            heads.replace_head(model, _names(wanted))
        self.n_speakers = wanted

    def _wanted(self, metadata: dict[str, Any]) -> int:
        """How many outputs the run had that wrote the metadata; without one, those of the own head."""
        wanted = metadata.get("n_speakers")
        if isinstance(wanted, int) and _MIN_SPEAKERS <= wanted <= MAX_SPEAKERS:
            return wanted
        return self._own_head.out_features

    @property
    def _has_new_head(self) -> bool:
        return self._own_outputs != self.n_speakers

    def expected_first_loss(self) -> float | None:
        """A new head says "perhaps" of everybody: ln 2."""
        return math.log(2) if self._has_new_head else None

    def loading_arguments(self) -> str:
        if not self._has_new_head:
            return ""
        return f",\n    num_labels={self.n_speakers}, ignore_mismatched_sizes=True"

    def metadata(self) -> dict[str, Any]:
        return {
            **super().metadata(),
            "n_speakers": self.n_speakers,
            "window_s": self.max_clip_s,
            "overlap_s": recordings.OVERLAP_S,
            "frame_s": self.frame_s,
            "threshold": THRESHOLD,
            "smoothing_s": SMOOTHING_S,
        }


def _logits(model: Any, batch: Batch) -> Any:
    return model(**{name: value for name, value in batch.items() if name != "labels"}).logits


def _names(n_speakers: int) -> list[str]:
    return [f"speaker_{index + 1}" for index in range(n_speakers)]


def _pairs(targets: Sequence[str], outputs: Sequence[Output]) -> list[diarization_error.Pair]:
    answers = [output.segments or [] for output in outputs]
    return [(turns.from_rttm(t), answer) for t, answer in zip(targets, answers, strict=True)]


def _rttm_file(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts if text)


def _convolutions(config: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Kernels and strides over the waveform; none for models on a filter bank."""
    if config["model_type"] == "wav2vec2-bert":
        return [], []
    kernels = config.get("conv_kernel", [10, 3, 3, 3, 3, 2, 2])
    return kernels, config.get("conv_stride", [5, 2, 2, 2, 2, 2, 2])


def _frame_s(config: dict[str, Any], extractor: Any) -> float:
    """Seconds from one frame of the encoder to the next. What a frame hears beyond them is left aside."""
    strides = _convolutions(config)[1]
    return math.prod(strides) / extractor.sampling_rate if strides else _FBANK_HOP_S * extractor.stride


def _warnings(sets: ClipSets) -> list[tuple[str, str]]:
    """What the person should know of how the recordings are learnt."""
    found = []
    n_long = sum(clip.duration_s > recordings.WINDOW_S for clip in sets.train)
    if n_long:
        sentence = f"{n_long} recordings are longer than {recordings.WINDOW_S:g} s and are learnt in pieces."
        found.append(("clips_cut", sentence))
    n_full = sum(n_speakers_of(clip) > MAX_SPEAKERS for clip in sets.train)
    if n_full:
        sentence = (
            f"{n_full} recordings have more than {MAX_SPEAKERS} speakers; who speaks least is left out."
        )
        found.append(("speakers_left_out", sentence))
    return found
