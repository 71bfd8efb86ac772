"""The wizard's parameters as data: label, help, bounds. Bounds come from the job's own schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic.fields import FieldInfo

from qlora_studio.contracts.spec import EvaluationSpec, OptimizationSpec, PreferenceSpec, QLoraSpec

_PARTS = {
    "qlora": QLoraSpec,
    "optimization": OptimizationSpec,
    "evaluation": EvaluationSpec,
    "preference": PreferenceSpec,
}


@dataclass(frozen=True)
class Parameter:
    """One field. `kind` is number, choice or switch; `bounds` is a sentence or empty."""

    name: str
    label: str
    help: str
    kind: str = "number"
    options: tuple[tuple[str, str], ...] = ()
    is_basic: bool = False

    @property
    def bounds(self) -> str:
        return describe_bounds(self.name)


def describe_bounds(name: str) -> str:
    """`1 to 512`, `above 0, up to 1`, … from the schema of a dotted field."""
    part, _, key = name.partition(".")
    if part not in _PARTS:
        return ""
    limits = _limits(_PARTS[part].model_fields[key])
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if low is None or high is None:
        return ""
    if "gt" in limits:
        return f"Above {_short(low)}, up to {_short(high)}."
    return f"{_short(low)} to {'below ' if 'lt' in limits else ''}{_short(high)}."


def _limits(field: FieldInfo) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in _constraints(field):
        for key in ("ge", "gt", "le", "lt"):
            value = getattr(item, key, None)
            if value is not None:
                found[key] = value
    return found


def _constraints(field: FieldInfo) -> list[Any]:
    """The bounds of a field, also where they stand inside `Annotated[…] | None`."""
    nested = [meta for part in get_args(field.annotation) for meta in getattr(part, "__metadata__", ())]
    return [*field.metadata, *(m for info in nested for m in getattr(info, "metadata", [info]))]


def _short(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


TARGETS = (
    ("auto", "Auto"),
    ("attention", "Attention"),
    ("all-linear", "All linear layers"),
    ("decoder", "Decoder only: quicker over many epochs"),
)
BASIC = (
    Parameter(
        "qlora.rank",
        "Rank",
        "How much the adapter can learn. 8 to 32 suits most voices; more takes memory.",
        is_basic=True,
    ),
    Parameter(
        "qlora.target_modules",
        "Target modules",
        "Which layers carry the adapter. Auto is what was found to work for this family.",
        kind="choice",
        options=TARGETS,
        is_basic=True,
    ),
    Parameter(
        "optimization.learning_rate",
        "Learning rate",
        "How far each step moves. Halve it if the loss jumps about.",
        is_basic=True,
    ),
    Parameter(
        "optimization.epochs",
        "Epochs",
        "How often each clip is heard. Empty with a number of steps in its place.",
        is_basic=True,
    ),
    Parameter(
        "optimization.batch_size",
        "Batch size",
        "Clips in one step. Halve it when memory runs out.",
        is_basic=True,
    ),
    Parameter(
        "optimization.mode",
        "Mode",
        "Fast saves work that does not change what is learnt; exact repeats the plain recipe number for "
        "number.",
        kind="choice",
        options=(("fast", "Fast"), ("exact", "Exact")),
        is_basic=True,
    ),
)
TRAINING_TYPES = (("qlora", "QLoRA (4 bits)"), ("lora", "LoRA (16 or 32 bits)"))
PREFERENCE_TYPE = ("preference", "Preference (DPO)")
TRAINING_TYPE = Parameter(
    "training_type",
    "Training type",
    "QLoRA stores the frozen base in 4 bits; LoRA keeps it in full.",
    kind="choice",
    options=TRAINING_TYPES,
)
ADAPTER = (
    Parameter(
        "qlora.bits",
        "Bits of the base",
        "4 with QLoRA; 16 or 32 with LoRA; any of them with preferences.",
        kind="choice",
        options=(("4", "4 (NF4)"), ("16", "16"), ("32", "32")),
    ),
    Parameter("qlora.alpha", "Alpha", "The adapter is scaled by alpha over rank; twice the rank is usual."),
    Parameter(
        "qlora.dropout", "Dropout", "Share of the adapter's input left out at random; helps with few clips."
    ),
    Parameter(
        "qlora.compute_dtype",
        "Compute type",
        "What 4-bit weights are multiplied in. Auto is float32 on CPU and 16 bits on CUDA.",
        kind="choice",
        options=tuple((name, name) for name in ("auto", "float32", "bfloat16", "float16")),
    ),
    Parameter(
        "qlora.double_quant",
        "Double quantisation",
        "Quantises the scales of the 4-bit weights too: a little less memory.",
        kind="switch",
    ),
    Parameter(
        "qlora.whole_encoder",
        "Whole encoder",
        "Packs only the decoder of a Whisper: a small one hears better from the start, for a little memory.",
        kind="switch",
    ),
)
OPTIMIZATION = (
    Parameter("optimization.max_steps", "Steps", "Optimiser steps in all; leave epochs empty then."),
    Parameter(
        "optimization.gradient_accumulation",
        "Accumulation",
        "Batches added up before a step: larger batches in the same memory.",
    ),
    Parameter(
        "optimization.devices",
        "Devices",
        "They share the clips of each batch: the job ends sooner and learns the same.",
    ),
    Parameter(
        "optimization.scheduler",
        "Schedule",
        "How the learning rate changes over the run.",
        kind="choice",
        options=(
            ("linear", "Linear"),
            ("cosine", "Cosine"),
            ("constant", "Constant"),
            ("constant_with_warmup", "Constant after warm-up"),
        ),
    ),
    Parameter("optimization.warmup_ratio", "Warm-up", "Share of the steps in which the rate climbs."),
    Parameter("optimization.weight_decay", "Weight decay", "Pulls the adapter towards zero."),
    Parameter("optimization.max_grad_norm", "Largest gradient", "Longer gradients are cut to this norm."),
    Parameter("optimization.seed", "Seed", "The same seed repeats the same run."),
    Parameter(
        "optimization.gradient_checkpointing",
        "Gradient checkpointing",
        "Much less memory, about a third more time.",
        kind="switch",
    ),
)
EVALUATION = (
    Parameter(
        "evaluation.every_steps",
        "Evaluate every",
        "Steps between looks at the held-out clips; empty for about six looks a run.",
    ),
    Parameter(
        "evaluation.save_every_steps",
        "Checkpoint every",
        "Steps between checkpoints; empty for each evaluation.",
    ),
    Parameter(
        "evaluation.metric",
        "Best by",
        "The adapter kept is the one with the best value of this.",
        kind="choice",
    ),
    Parameter(
        "evaluation.early_stopping_patience",
        "Early stopping",
        "Ends the run after this many evaluations without a better one; empty for never.",
    ),
    Parameter("evaluation.n_samples", "Sample panel", "Held-out clips shown word by word at each look."),
)
PREFERENCE = (
    Parameter(
        "preference.beta",
        "Beta",
        "How close the model stays to its base: less lets it go further for the preferences.",
    ),
    Parameter(
        "preference.loss",
        "Loss",
        "Sigmoid is DPO as published; robust expects some pairs to be the wrong way round.",
        kind="choice",
        options=(("sigmoid", "Sigmoid"), ("hinge", "Hinge"), ("robust", "Robust"), ("apo_zero", "APO-zero")),
    ),
    Parameter(
        "preference.label_smoothing",
        "Wrong pairs",
        "Share of pairs taken to be the wrong way round; for the robust loss only.",
    ),
)
AFTER = Parameter(
    "after_job_id",
    "Run after",
    "Waits for another of your jobs; others may pass it meanwhile.",
    kind="choice",
)
START = Parameter(
    "start_adapter_id",
    "Start from",
    "An adapter is trained on with its own rank, alpha and layers; it is compared with the plain base.",
    kind="choice",
)
AFTER_CONDITION = Parameter(
    "after_condition",
    "And only if",
    "If that job does not succeed, this one is stopped and says so.",
    kind="choice",
    options=(("ended", "it has ended, in any way"), ("succeeded", "it has succeeded")),
)
ALL = (
    *BASIC,
    TRAINING_TYPE,
    *ADAPTER,
    *PREFERENCE,
    *OPTIMIZATION,
    *EVALUATION,
    START,
    AFTER,
    AFTER_CONDITION,
)
_LABELS = {parameter.name: parameter.label for parameter in ALL}


def label_errors(errors: Mapping[str, str]) -> str:
    """What is wrong with which fields, in a line; values to try are told by their parameter."""
    named = [(_LABELS.get(name.removeprefix("axes."), ""), text) for name, text in errors.items()]
    return " ".join(f"{label}: {text}" if label else text for label, text in named)
