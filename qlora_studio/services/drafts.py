"""What a person has typed into the training wizard, kept until it is launched or thrown away.

The launch key is made with the draft: however often Launch is clicked, it names one job. Values are kept as
they were typed, so a half-typed number survives a reload too; `build_spec` says what is wrong with them.
"""

import secrets
import zlib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session, select

from qlora_studio.contracts.enums import TERMINAL_STATUSES, TrainingType
from qlora_studio.contracts.spec import OptimizationSpec, TrainSpec
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models.job import Job, WizardDraft
from qlora_studio.db.models.user import User
from qlora_studio.services.job_checks import parse_spec
from qlora_studio.services.presets import Preset

N_STEPS = 4
RANGE_TEST = ", learning rate test"
RANGE_STEPS, MAX_RATE = 100, 0.1
_MAX_TEXT = 200
_MAX_VALUES = 60
_MAX_AXES = 3
_WHOLE_NUMBERS = frozenset(
    "qlora.rank qlora.bits optimization.devices optimization.batch_size optimization.gradient_accumulation "
    "optimization.max_steps optimization.seed evaluation.every_steps evaluation.early_stopping_patience "
    "evaluation.n_samples evaluation.save_every_steps".split()
)
_NUMBERS = frozenset(
    "qlora.alpha qlora.dropout optimization.learning_rate optimization.epochs optimization.warmup_ratio "
    "optimization.weight_decay optimization.max_grad_norm preference.beta "
    "preference.label_smoothing".split()
)
_OPTIONAL = frozenset(
    "optimization.epochs optimization.max_steps evaluation.every_steps evaluation.early_stopping_patience "
    "evaluation.save_every_steps after_job_id start_adapter_id".split()
)
_SWITCHES = frozenset({"qlora.double_quant", "qlora.whole_encoder", "optimization.gradient_checkpointing"})
_TARGETS = "qlora.target_modules"
_RATE = "optimization.learning_rate"
_TEST_KEY = "/rate-"  # between a draft's launch key and what tells its range tests apart
_TEXTS = frozenset(
    "training_type qlora.compute_dtype optimization.scheduler optimization.mode evaluation.metric "
    "preference.loss after_job_id after_condition start_adapter_id".split()
)
_BOUNDS = {
    "greater than or equal to": "Give {} or more.",
    "less than or equal to": "Give {} or less.",
    "greater than": "Give more than {}.",
    "less than": "Give less than {}.",
}
# The rules about two fields together, by the name of the error, and the field that shows them.
_TOGETHER = {"spec": "optimization.max_steps", "preference": "preference.label_smoothing"}
# About where and when a job starts, and not about how it learns: presets leave them alone.
STANDING = frozenset({"after_job_id", "after_condition", "start_adapter_id"})
FIELDS = _WHOLE_NUMBERS | _NUMBERS | _SWITCHES | _TEXTS | {_TARGETS}


class Draft(BaseModel):
    """The wizard's content.

    `step` counts from 0, the furthest reached; `values` maps dotted field names to what was typed. Until a
    parameter is `is_touched` by hand, choosing another model brings that family's presets. `sweep` maps
    parameters to what was typed as the values to try; `augmentation` is that of a job that is done again.
    """

    model_config = ConfigDict(extra="ignore")

    launch_key: str = Field(default_factory=lambda: secrets.token_urlsafe(16))
    step: int = Field(default=0, ge=0, lt=N_STEPS)
    name: str = Field(default="", max_length=_MAX_TEXT)
    dataset_id: str = Field(default="", max_length=64)
    model_id: str = Field(default="", max_length=64)
    is_expert: bool = False
    is_touched: bool = False
    is_picking_layers: bool = False
    picked_layers: list[str] = Field(default_factory=list, max_length=500)
    values: dict[str, str] = Field(default_factory=dict, max_length=_MAX_VALUES)
    sweep: dict[str, str] = Field(default_factory=dict, max_length=_MAX_AXES)
    augmentation: dict[str, Any] | None = None


def preset_values(training_type: str = "qlora", *, preset: Preset = Preset()) -> dict[str, str]:
    """What the fields hold before anything is typed: the contract's own values under those of a preset."""
    spec = TrainSpec(name="preset", dataset_id="-", model_id="-")
    values = _flatten(spec.model_dump(mode="json"))
    values["training_type"] = training_type
    values["qlora.bits"] = {"lora": "32"}.get(training_type, "4")
    return values | preset.values


def _flatten(data: dict[str, Any]) -> dict[str, str]:
    values: dict[str, str] = {}
    for part, content in data.items():
        pairs = content.items() if isinstance(content, dict) else [("", content)]
        for key, value in pairs:
            name = f"{part}.{key}" if key else part
            if name in FIELDS:
                values[name] = _as_text(value)
    return values


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def get_draft(session: Session, *, actor: User) -> Draft | None:
    """Return the actor's draft, or None if there is none."""
    row = session.get(WizardDraft, actor.id)
    return Draft.model_validate(row.data) if row is not None else None


def save_draft(session: Session, *, actor: User, draft: Draft) -> None:
    """Keep the actor's draft in place of the one before."""
    row = session.get(WizardDraft, actor.id) or WizardDraft(user_id=actor.id)
    row.data = draft.model_dump(mode="json")
    row.updated_at = utc_now()
    session.add(row)


def delete_draft(session: Session, *, actor: User) -> None:
    """Throw the actor's draft away."""
    row = session.get(WizardDraft, actor.id)
    if row is not None:
        session.delete(row)


def draft_of_job(job: Job) -> Draft:
    """A new draft with everything as in an earlier job."""
    spec = TrainSpec.model_validate(job.spec)
    targets = spec.qlora.target_modules
    values = preset_values() | _flatten(spec.model_dump(mode="json"))
    values["after_job_id"] = ""
    if is_range_test(spec):
        values |= _after_range_test(job)
    return Draft(
        name=job.name.removesuffix(RANGE_TEST) if is_range_test(spec) else f"{job.name} again"[:120],
        dataset_id=spec.dataset_id,
        model_id=spec.model_id,
        step=2,
        is_expert=True,
        is_touched=True,
        is_picking_layers=isinstance(targets, list),
        picked_layers=targets if isinstance(targets, list) else [],
        values=values,
        augmentation=job.spec.get("augmentation"),
    )


def _after_range_test(job: Job) -> dict[str, str]:
    """A training as usual, at the rate that a range test found."""
    usual = OptimizationSpec()
    return {
        "optimization.scheduler": usual.scheduler,
        "optimization.max_steps": "",
        _RATE: f"{_best_rate(job) or usual.learning_rate:g}",
    }


def _best_rate(job: Job) -> float | None:
    return job.report.get("range_test", {}).get("best_rate")


def draft_after(session: Session, *, actor: User, job: Job) -> Draft:
    """A draft of the job after an earlier one: the same again, or the training that a range test was for.

    That is the draft that the test was started from, with everything in it, or the job launched from it; at
    the rate that the test found.
    """
    draft = _planned(session, actor, job) if is_range_test(TrainSpec.model_validate(job.spec)) else None
    if draft is None:
        draft = draft_of_job(job)
        before = session.get(Job, job.after_job_id) if job.after_job_id else None
        if before is not None and before.status not in TERMINAL_STATUSES:
            draft.values["after_job_id"] = before.id
        return draft
    if best := _best_rate(job):
        draft.values[_RATE] = f"{best:g}"
    draft.is_touched = True
    return draft


def _planned(session: Session, actor: User, job: Job) -> Draft | None:
    launch_key = (job.launch_key or "").rpartition(_TEST_KEY)[0]
    if not launch_key:
        return None
    kept = get_draft(session, actor=actor)
    if kept is not None and f"{actor.id}:{kept.launch_key}" == launch_key:
        return kept if _is_about(kept.dataset_id, kept.model_id, job) else None
    launched = session.exec(select(Job).where(Job.launch_key == launch_key)).first()
    if launched is None or not _is_about(launched.dataset_id, launched.model_id, job):
        return None
    return draft_of_job(launched)


def _is_about(dataset_id: str, model_id: str, job: Job) -> bool:
    """Whether a range test's rate was found with these: with others it says nothing."""
    return (dataset_id, model_id) == (job.spec["dataset_id"], job.spec["model_id"])


def range_test_key(draft: Draft, spec: TrainSpec) -> str:
    """The launch key of a draft's range test: another one once a parameter is another."""
    return f"{draft.launch_key}{_TEST_KEY}{zlib.crc32(spec.model_dump_json().encode()):x}"


def range_test_of(spec: TrainSpec) -> TrainSpec:
    """The range test that tells which learning rate suits a job."""
    optimization = spec.optimization.model_copy(
        update={
            "scheduler": "range_test",
            "learning_rate": MAX_RATE,
            "epochs": None,
            "max_steps": RANGE_STEPS,
            "devices": 1,
        }
    )
    name = spec.name[: 120 - len(RANGE_TEST)] + RANGE_TEST
    return spec.model_copy(update={"name": name, "optimization": optimization})


def is_range_test(spec: TrainSpec) -> bool:
    """Whether a job tries learning rates instead of training."""
    return spec.optimization.scheduler == "range_test"


def build_spec(draft: Draft) -> TrainSpec:
    """Read the draft as a job.

    Raises:
        InvalidInput: `fields` names each wrong field and says what would be right.
    """
    data: dict[str, Any] = {
        "name": " ".join(draft.name.split()),
        "dataset_id": draft.dataset_id,
        "model_id": draft.model_id,
    }
    fields: dict[str, str] = {}
    learns_preferences = draft.values.get("training_type") == TrainingType.PREFERENCE
    if not data["name"]:
        fields["name"] = "Give the adapter a name."
    for field, text in draft.values.items():
        if field not in FIELDS or (field.startswith("preference.") and not learns_preferences):
            continue  # what isn't shown can't be put right
        try:
            value = read_value(field, text.strip())
        except ValueError as error:
            fields[field] = str(error)
            continue
        part, _, key = field.partition(".")
        (data.setdefault(part, {}) if key else data)[key or part] = value
    if draft.augmentation is not None:
        data["augmentation"] = draft.augmentation
    if draft.is_picking_layers:
        if not draft.picked_layers:
            fields[_TARGETS] = "Pick at least one layer."
        data.setdefault("qlora", {})["target_modules"] = draft.picked_layers
    return _parse(data, fields)


def _parse(data: dict[str, Any], fields: dict[str, str]) -> TrainSpec:
    try:
        spec = parse_spec(data)
    except InvalidInput as error:
        fields = {**error.fields, **fields}
    if fields:
        for rule, field in _TOGETHER.items():
            if both := fields.pop(rule, ""):
                fields[field] = both
        plain = {name: plain_sentence(text) for name, text in fields.items()}
        raise InvalidInput("Some parameters are wrong.", fields=plain)
    return spec


def plain_sentence(text: str) -> str:
    """The schema's bounds in the reader's words."""
    for words, plain in _BOUNDS.items():
        start = f"Input should be {words} "
        if text.startswith(start):
            return plain.format(text.removeprefix(start).rstrip("."))
    return text


def read_value(field: str, text: str) -> Any:
    """Read what was typed into a field; None for one that may be left empty.

    Raises:
        ValueError: it is no value of this field; the message says what would be.
    """
    if not text and field in _OPTIONAL:
        return None
    if field in _SWITCHES:
        return text == "true"
    if field in _WHOLE_NUMBERS:
        if not text.isascii() or not text.lstrip("-").isdigit() or len(text) > 12:
            raise ValueError("Give a whole number.")
        return int(text)
    if field in _NUMBERS:
        try:
            return float(text[:40])
        except ValueError:
            raise ValueError("Give a number, such as 0.001 or 1e-3.") from None
    return text
