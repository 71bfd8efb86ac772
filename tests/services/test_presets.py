"""Where a job's parameters start, and why."""

import pytest

from qlora_studio.contracts.enums import Task
from qlora_studio.services.presets import MAX_EPOCHS, MIN_STEPS, Preset, preset_for

SPEECH = Task.SPEECH_TO_TEXT


def rate(family: str, n_parameters: float, task: Task = SPEECH) -> float:
    values = preset_for(family=family, task=task, n_parameters=int(n_parameters)).values
    return float(values["optimization.learning_rate"])


@pytest.mark.parametrize("family", ["whisper", "moonshine", "wav2vec2", "wav2vec2-bert"])
def test_larger_models_take_smaller_steps(family: str) -> None:
    rates = [rate(family, n) for n in (10e6, 240e6, 1.5e9)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]


def test_the_starters_recipe_is_not_for_a_large_model_of_its_family() -> None:
    assert rate("wav2vec2-bert", 2.5e6) == 3e-3
    assert rate("wav2vec2-bert", 580e6) == 3e-4


def test_a_tiny_whisper_that_writes_gets_a_wide_adapter_and_the_reason() -> None:
    tiny = preset_for(family="whisper", task=SPEECH, n_parameters=38_000_000)
    assert (tiny.values["qlora.rank"], tiny.values["qlora.target_modules"]) == ("32", "all-linear")
    assert sum("Rank 32" in reason for reason in tiny.reasons) == 1


@pytest.mark.parametrize(
    ("family", "task", "n_parameters"),
    [
        ("whisper", SPEECH, 0),  # not known
        ("whisper", SPEECH, 74_000_000),
        ("whisper", Task.AUDIO_CLASSIFICATION, 38_000_000),
        ("moonshine", SPEECH, 27_000_000),
    ],
)
def test_what_was_not_measured_keeps_the_usual_adapter(family: str, task: Task, n_parameters: int) -> None:
    values = preset_for(family=family, task=task, n_parameters=n_parameters).values
    assert not [name for name in values if name.startswith("qlora.")]


def test_few_clips_are_heard_more_often_and_very_many_once() -> None:
    epochs = [
        int(preset_for(family="whisper", task=SPEECH, n_clips=n).values["optimization.epochs"])
        for n in (8, 100, 1_000, 50_000)
    ]
    assert epochs == [MAX_EPOCHS, MIN_STEPS * 8 // 100, 3, 1]


def test_a_model_that_fills_the_memory_gets_small_batches_with_the_same_total() -> None:
    values = preset_for(family="whisper", task=SPEECH, n_parameters=1_500_000_000).values
    assert int(values["optimization.batch_size"]) * int(values["optimization.gradient_accumulation"]) == 8
    assert values["optimization.gradient_checkpointing"] == "true"


def test_epochs_are_reckoned_with_the_clips_of_a_whole_step() -> None:
    large = preset_for(family="musicgen", task=Task.TEXT_TO_AUDIO, n_parameters=1_500_000_000, n_clips=50)
    assert int(large.values["optimization.epochs"]) == MIN_STEPS * 8 // 50


@pytest.mark.parametrize("task", list(Task))
def test_each_choice_has_its_reason(task: Task) -> None:
    preset = preset_for(family="whisper", task=task, n_clips=400)
    assert preset.values["optimization.learning_rate"] in preset.reasons[0]
    assert len(preset.reasons) == 3


def test_without_a_model_nothing_is_preset() -> None:
    assert preset_for(family="", task=None) == Preset()
