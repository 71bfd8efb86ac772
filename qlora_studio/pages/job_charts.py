"""The curves of a job."""

from typing import Any

import reflex as rx

from qlora_studio.components.charts import Trace, chart_controls, live_chart
from qlora_studio.components.surfaces import card, grid
from qlora_studio.state.job import JobState

_THREE_WIDE = "lg:grid-cols-2 2xl:grid-cols-3"


def charts_tab() -> rx.Component:
    """Every curve of the training, then those of the machine."""
    return rx.fragment(
        rx.el.div(chart_controls(with_epochs=JobState.job.epochs_per_step > 0), class_name="mb-4"),
        grid(
            loss_chart(),
            quality_chart(),
            _chart("Learning rate", Trace("learning_rate", "Learning rate")),
            _chart(
                "Speed, clips per second",
                Trace("samples_per_s", "Clips"),
                label="Speed",
                kind="rate",
                unit="clips/s",
            ),
            _chart("Gradient norm", Trace("grad_norm", "Norm")),
            _chart(
                "Speed, seconds of audio per second",
                Trace("audio_s_per_s", "Audio"),
                label="Audio per second",
                kind="rate",
                unit="s/s",
            ),
            columns=_THREE_WIDE,
        ),
        rx.el.h2("Machine", class_name="text-[15px] font-semibold mt-8 mb-3"),
        grid(
            _chart(
                "Processor, percent of one core",
                Trace("cpu_percent", "CPU"),
                Trace("gpu_percent", "GPU", "--chart-4"),
                label="Processor",
                kind="rate",
                unit="%",
                by_time=True,
            ),
            _chart(
                "Memory",
                Trace("rss_bytes", "Memory", "--chart-2"),
                Trace("gpu_memory_bytes", "GPU memory", "--chart-4"),
                kind="bytes",
                by_time=True,
            ),
            _chart("Free disk", Trace("disk_free_bytes", "Free", "--chart-5"), kind="bytes", by_time=True),
            columns=_THREE_WIDE,
        ),
    )


def loss_chart(**options: Any) -> rx.Component:
    """The loss in training and on held-out clips."""
    return _chart(
        "Loss",
        Trace("loss", "Training"),
        Trace("eval_loss", "Held-out", "--chart-3", dots=True),
        **options,
    )


def quality_chart(**options: Any) -> rx.Component:
    """What the job is judged by on held-out clips, with the base model's value to compare."""
    job = JobState.job
    words_or_turns = rx.cond(job.has_speakers, _diarization_chart(**options), _error_rate_chart(**options))
    heard = rx.cond(job.has_classes, _accuracy_chart(**options), words_or_turns)
    made = rx.cond(job.has_sounds, _distance_chart(**options), heard)
    return rx.cond(job.has_preferences, _preference_chart(**options), made)


def _preference_chart(**options: Any) -> rx.Component:
    return _share_chart(
        "Preferences met",
        Trace("train_reward_accuracy", "Training"),
        Trace("reward_accuracy", "Held-out", "--chart-3", dots=True),
        **options,
    )


def _diarization_chart(**options: Any) -> rx.Component:
    return _share_chart(
        "Diarization error on held-out recordings",
        Trace("der", "Error rate", "--chart-1", dots=True),
        Trace("missed_speech", "Missed", "--chart-2", dots=True),
        Trace("false_alarm", "False alarm", "--chart-3", dots=True),
        Trace("confusion", "Confusion", "--chart-4", dots=True),
        **options,
    )


def _distance_chart(**options: Any) -> rx.Component:
    return _chart(
        "Mel distance of made sounds, in dB",
        Trace("mel_distance", "Distance", "--chart-1", dots=True),
        label="Mel distance",
        kind="rate",
        unit="dB",
        base=JobState.job.base,
        **options,
    )


def _accuracy_chart(**options: Any) -> rx.Component:
    return _share_chart(
        "Accuracy on held-out clips",
        Trace("accuracy", "Accuracy", "--chart-1", dots=True),
        Trace("macro_f1", "Macro F1", "--chart-2", dots=True),
        **options,
    )


def _error_rate_chart(**options: Any) -> rx.Component:
    return _share_chart(
        "Error rate on held-out clips",
        Trace("wer", "Words", "--chart-1", dots=True),
        Trace("cer", "Characters", "--chart-2", dots=True),
        **options,
    )


def _share_chart(title: str, *traces: Trace, **options: Any) -> rx.Component:
    """Shares in percent, with the base model's as a line."""
    return _chart(title, *traces, kind="percent", base=JobState.job.base, **options)


def _chart(title: str, *traces: Trace, label: str = "", height: int = 230, **options: Any) -> rx.Component:
    chart = live_chart(
        traces,
        label=label or title,
        curves=JobState.curves,
        tail=JobState.tail,
        job_id=JobState.job.id,
        epochs=JobState.job.epochs_per_step,
        height=height,
        **options,
    )
    return card(chart, title=title)
