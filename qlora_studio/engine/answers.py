"""How each task answers about a clip, or a text. A new one is a function here and a line in `ANSWERS`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.events import ClassProbability
from qlora_studio.contracts.inference import SoundWish, SpeakerSegment
from qlora_studio.engine.pieces import cut
from qlora_studio.engine.refusals import Refused
from qlora_studio.training.clips import MIN_CLIP_S
from qlora_studio.training.tasks.base import AudioTask
from qlora_studio.training.tasks.classification import ClassificationTask
from qlora_studio.training.tasks.diarization import DiarizationTask
from qlora_studio.training.tasks.sounds import SoundTask
from qlora_studio.training.tasks.speech import SpeechTask

_OVERFLOWED = "The model's numbers overflowed, so it made no sound. Lower the adapter's strength."

Said = dict[str, Any]  # fields of `Heard`
Report = Callable[[float], None]  # how far it is, 0 to 1; raises when nobody wants the answer any more
ShouldStop = Callable[[], bool]
Answer = Callable[[AudioTask, Any, Any, Report, ShouldStop], Said]  # the third: samples, or a `SoundWish`


def transcribe(
    task: AudioTask, model: Any, samples: np.ndarray, report: Report, should_stop: ShouldStop
) -> Said:
    """Write down all of a clip: what is longer than the model takes is cut where it is quietest."""
    assert isinstance(task, SpeechTask)
    pieces = cut(_long_enough(samples, task), task.sampling_rate, max_s=task.max_clip_s)
    texts = []
    for index, piece in enumerate(pieces):
        report(index / len(pieces))
        texts.append(task.transcribe(model, task.features(piece), should_stop=should_stop))
    report(1.0)  # a text that was stopped half-way is no answer
    return {"text": " ".join(filter(None, texts))}


def classify(
    task: AudioTask, model: Any, samples: np.ndarray, report: Report, should_stop: ShouldStop
) -> Said:
    """Name every class with its probability, the likeliest first, from the beginning of the clip."""
    assert isinstance(task, ClassificationTask)
    report(0.0)
    probabilities = task.classify(model, task.features(_long_enough(samples, task)))
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return {"classes": [ClassProbability(label=label, probability=p) for label, p in ranked]}


def diarize(
    task: AudioTask, model: Any, samples: np.ndarray, report: Report, should_stop: ShouldStop
) -> Said:
    """Say who speaks when in all of a clip, in windows that overlap."""
    assert isinstance(task, DiarizationTask)
    output = task.diarize(model, _long_enough(samples, task), report=report)
    segments = output.segments or []
    return {
        "segments": [
            SpeakerSegment(start_s=turn.start_s, duration_s=turn.duration_s, speaker=turn.speaker)
            for turn in segments
        ]
    }


def generate(task: AudioTask, model: Any, wish: SoundWish, report: Report, should_stop: ShouldStop) -> Said:
    """Make a sound of a text: `sound`, float32 (n,).

    Raises:
        Refused: the model made numbers that are no sound.
    """
    assert isinstance(task, SoundTask)
    report(0.0)
    try:
        made = task.generate(
            model,
            [wish.prompt],
            seconds=min(wish.seconds, task.max_clip_s),
            seed=wish.seed,
            on_step=lambda done, total: report(done / total),
            **wish.model_dump(include={"guidance", "temperature"}, exclude_none=True),
        )
    except RuntimeError as error:
        if "probability tensor" in str(error):  # torch was to draw from what is no number
            raise Refused(_OVERFLOWED) from error
        raise
    if not np.isfinite(made[0]).all():
        raise Refused(_OVERFLOWED)
    return {"sound": made[0]}


def _long_enough(samples: np.ndarray, task: AudioTask) -> np.ndarray:
    """Add silence to a clip that is shorter than any that is trained on."""
    missing = round(MIN_CLIP_S * task.sampling_rate) - len(samples)
    return np.pad(samples, (0, missing)) if missing > 0 else samples


ANSWERS: dict[Task, Answer] = {
    Task.SPEECH_TO_TEXT: transcribe,
    Task.AUDIO_CLASSIFICATION: classify,
    Task.SPEAKER_DIARIZATION: diarize,
    Task.TEXT_TO_AUDIO: generate,
}
HEARS_BEGINNING = frozenset({Task.AUDIO_CLASSIFICATION})  # of at most `max_clip_s`
