"""What is measured on held-out clips: the words for it, and which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass

from qlora_studio.contracts.enums import Task, TrainingType


@dataclass(frozen=True)
class Metric:
    """One figure of an evaluation.

    Attributes:
        key: its name in events, in the database and in the API.
        name: what people call it.
        short: for a narrow column.
        is_share: a fraction, shown in percent.
        is_higher_better: whether more of it is better.
    """

    key: str
    name: str
    short: str
    is_share: bool = True
    is_higher_better: bool = False

    def text(self, value: float | None) -> str:
        """A value as a line of text shows it; “?” for none."""
        if value is None:
            return "?"
        return f"{100 * value:.1f} %" if self.is_share else f"{value:.3g}"


METRICS = {
    metric.key: metric
    for metric in (
        Metric("wer", "word error rate", "WER"),
        Metric("cer", "character error rate", "CER"),
        Metric("wer_normalised", "word error rate, normalised", "WER normalised"),
        Metric("cer_normalised", "character error rate, normalised", "CER normalised"),
        Metric("accuracy", "accuracy", "Accuracy", is_higher_better=True),
        Metric("macro_f1", "macro F1", "Macro F1", is_higher_better=True),
        Metric("der", "diarization error rate", "DER"),
        Metric("missed_speech", "missed speech", "Missed"),
        Metric("false_alarm", "false alarm", "False alarm"),
        Metric("confusion", "speaker confusion", "Confusion"),
        Metric("reward_accuracy", "preferences met", "Preferred", is_higher_better=True),
        Metric("reward_margin", "reward margin", "Margin", is_share=False, is_higher_better=True),
        Metric("eval_loss", "held-out loss", "Loss", is_share=False),
        Metric("mel_distance", "mel distance in dB", "Mel distance", is_share=False),
        Metric("clap", "CLAP score", "CLAP", is_share=False, is_higher_better=True),
    )
}

DECIDING = {
    Task.SPEECH_TO_TEXT: ("wer", "cer", "loss"),
    Task.AUDIO_CLASSIFICATION: ("accuracy", "macro_f1", "loss"),
    Task.SPEAKER_DIARIZATION: ("der", "loss"),
    Task.TEXT_TO_AUDIO: ("loss",),
}  # what may say which step is the best; the first one does unless the job says otherwise


PREFERENCE_METRICS = ("reward_accuracy", "loss")


def deciding(task: Task, training_type: TrainingType = TrainingType.QLORA) -> tuple[str, ...]:
    """What may say which step of a job is the best, the usual one first; empty if nothing is known to."""
    return PREFERENCE_METRICS if training_type is TrainingType.PREFERENCE else DECIDING.get(task, ())


def first_of(values: Mapping[str, float | None]) -> Metric:
    """The figure that sums an evaluation up: the first that it has, in the order of `METRICS`."""
    return next((m for m in METRICS.values() if values.get(m.key) is not None), METRICS["wer"])
