"""Several values of a few parameters, as they are typed into the wizard."""

from typing import Any

from qlora_studio.contracts.enums import TrainingType
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.errors import InvalidInput
from qlora_studio.services import sweeps
from qlora_studio.services.drafts import FIELDS, Draft, build_spec, plain_sentence, read_value

# What it makes no sense to vary, or what says where a job stands and not what it learns.
_FIXED = frozenset({"evaluation.metric", "optimization.devices", "qlora.bits"})
SWEEPABLE = frozenset(name for name in FIELDS if "." in name) - _FIXED


def read_axes(draft: Draft) -> sweeps.Axes:
    """Read what was typed as values to try; parameters without any are left out.

    Raises:
        InvalidInput: `fields` maps `axes.<parameter>` to what is wrong with its values.
    """
    axes: sweeps.Axes = {}
    fields: dict[str, str] = {}
    learns_preferences = draft.values.get("training_type") == TrainingType.PREFERENCE
    for axis, text in draft.sweep.items():
        if axis not in SWEEPABLE or not text.strip(" ,"):
            continue
        if axis.startswith("preference.") and not learns_preferences:
            continue
        try:
            axes[axis] = [_read(axis, part) for part in text.split(",") if part.strip()]
        except ValueError as error:
            fields[f"axes.{axis}"] = str(error)
    if fields:
        raise InvalidInput("Some values to try are wrong.", fields=fields)
    return axes


def build_sweep(draft: Draft) -> tuple[TrainSpec, sweeps.Axes, list[TrainSpec]]:
    """Read the draft as a sweep: the job it is about, the axes, and the job of each combination.

    Without values to try there is just the one job.

    Raises:
        InvalidInput: `fields` names each wrong field.
    """
    fields: dict[str, str] = {}
    spec, axes = None, {}
    try:
        spec = build_spec(draft)
    except InvalidInput as error:
        fields |= error.fields
    try:
        axes = read_axes(draft)
    except InvalidInput as error:
        fields |= error.fields
    if spec is None or fields:
        raise InvalidInput("Some parameters are wrong.", fields=fields)
    try:
        return spec, axes, sweeps.expand(spec, axes) if axes else [spec]
    except InvalidInput as error:
        plain = {name: plain_sentence(text) for name, text in error.fields.items()}
        raise InvalidInput(error.message, fields=plain) from error


def _read(axis: str, text: str) -> Any:
    value = read_value(axis, text.strip())
    if value is None:
        raise ValueError("Leave no value empty.")
    return value
