"""Where a job's parameters start: by task, family, size of the model and number of clips, with reasons.

A preset is what was measured here, where it was, and a careful guess from published recipes where it was not;
the reason says which. Larger models take smaller learning rates (Dettmers et al. 2023, arXiv:2305.14314,
table 9: 2e-4 up to 13 billion parameters, 1e-4 above), small ones that were measured here take larger ones.
"""

import math
from dataclasses import dataclass, field

from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.metrics import DECIDING

MIN_STEPS = 150
MAX_EPOCHS = 40
_MANY_CLIPS = 20_000
_MILLION = 1_000_000
_LARGE_BATCH = 2, 4  # clips at a time, and how often before the weights move


@dataclass(frozen=True)
class Preset:
    """Values by dotted field name, as text, and one sentence for each choice that has a reason."""

    values: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Recipe:
    """What suits one kind of model. `rates` are learning rates with the largest model they are for."""

    rates: tuple[tuple[float, float, str], ...]
    epochs: int
    batch_size: int = 8
    why: str = ""


_TINY = 50 * _MILLION  # a larger Whisper would need much more memory for it (`docs/training.md`)
_TINY_WHISPER = {"qlora.rank": "32", "qlora.alpha": "64", "qlora.target_modules": "all-linear"}
_GUESS = "a published rate for this size, not measured here"
_SPEECH = Recipe(
    (
        (100e6, 1e-3, "measured on Whisper tiny"),
        (400e6, 5e-4, "half of what a model under 100 million parameters takes"),
        (math.inf, 1e-4, _GUESS),
    ),
    epochs=3,
    why="A pretrained speech recogniser needs few rounds; more begin to learn the clips by heart.",
)
_CTC = Recipe(
    (
        (20e6, 2e-3, "small models take large steps"),
        (150e6, 1e-3, "ten times the usual rate of full fine-tuning, as LoRA takes it"),
        (math.inf, 3e-4, _GUESS),
    ),
    epochs=10,
    why="The head learns your alphabet anew, which takes more rounds than adapting one that can write.",
)
_STARTER = Recipe(
    ((20e6, 3e-3, "measured on the starter model"), *_CTC.rates[1:]),
    epochs=8,
    batch_size=4,
    why="Measured on the starter: small batches of short clips, often.",
)
_CLASSES = Recipe(
    ((100e6, 1e-3, "measured on Whisper tiny's encoder"), (math.inf, 3e-4, _GUESS)),
    epochs=10,
    why="The head for your classes starts from nothing.",
)
_SPEAKERS = Recipe(
    ((100e6, 1e-3, "as for classes, whose head is made new as well"), (math.inf, 3e-4, _GUESS)),
    epochs=10,
    why="The head for your speakers starts from nothing.",
)
_SOUND = Recipe(
    ((100e6, 5e-4, "a language model over codes takes small steps"), (math.inf, 2e-4, _GUESS)),
    epochs=10,
    batch_size=4,
    why="A clip is many tokens, so that batches are small.",
)
_BY_FAMILY = {"whisper": _SPEECH, "moonshine": _SPEECH, "wav2vec2-bert": _STARTER}
_BY_TASK = {
    Task.AUDIO_CLASSIFICATION: _CLASSES,
    Task.SPEAKER_DIARIZATION: _SPEAKERS,
    Task.TEXT_TO_AUDIO: _SOUND,
}


def preset_for(*, family: str, task: Task | None, n_parameters: int = 0, n_clips: int = 0) -> Preset:
    """Return the preset of a model (`family` as in its config) on a dataset.

    Args:
        n_parameters: of the model; 0 where unknown.
        n_clips: to train on; 0 where unknown.
    """
    if not family:
        return Preset()
    recipe = _BY_TASK[task] if task in _BY_TASK else _BY_FAMILY.get(family, _CTC)
    rate, rate_reason = next((rate, why) for largest, rate, why in recipe.rates if n_parameters <= largest)
    is_large = n_parameters > 500 * _MILLION
    batch_size, n_added = _LARGE_BATCH if is_large else (recipe.batch_size, 1)
    epochs, epochs_reason = _epochs(recipe, n_clips, batch_size * n_added)
    values = {
        "optimization.learning_rate": f"{rate:g}",
        "optimization.epochs": str(epochs),
        "optimization.batch_size": str(batch_size),
    }
    reasons = [f"Learning rate {rate:g}: {rate_reason}.", epochs_reason]
    if family == "whisper" and task is Task.SPEECH_TO_TEXT and 0 < n_parameters <= _TINY:
        values |= _TINY_WHISPER
        reasons.append(
            "Rank 32 on every linear layer: measured on Whisper tiny, a fifth fewer errors in 4 bits."
        )
    if task is not None and task in DECIDING:
        values["evaluation.metric"] = DECIDING[task][0]
    if is_large:
        values["optimization.gradient_accumulation"] = str(n_added)
        values["optimization.gradient_checkpointing"] = "true"
        reasons.append(
            f"Batches of {batch_size}, added up to {batch_size * n_added}, with checkpointing: a model of "
            "this size fills memory."
        )
    elif recipe.why:
        reasons.append(recipe.why)
    return Preset(values, reasons)


def _epochs(recipe: Recipe, n_clips: int, batch_size: int) -> tuple[int, str]:
    """As many rounds as the recipe has, more for few clips, fewer for many; `batch_size` is of a step."""
    if n_clips >= _MANY_CLIPS:
        return 1, f"1 epoch: {n_clips:,} clips are enough to hear each once."
    wanted = math.ceil(MIN_STEPS * batch_size / n_clips) if n_clips else 0
    if wanted > recipe.epochs:
        epochs = min(wanted, MAX_EPOCHS)
        return (
            epochs,
            f"{epochs} epochs: {n_clips:,} clips need that many for about {MIN_STEPS} steps.",
        )
    return recipe.epochs, f"{recipe.epochs} epochs: the usual number for this kind of model."
