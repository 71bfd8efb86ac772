"""May this job be launched? Each answer names the field, the reason and, where there is one, the way out."""

import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import (
    LEARNS_FROM,
    ClipStatus,
    DatasetStatus,
    ModelStatus,
    Split,
    Task,
    TrainingType,
)
from qlora_studio.contracts.metrics import deciding
from qlora_studio.contracts.spec import ClipItem, EvaluationSpec, TrainSpec
from qlora_studio.core import devices
from qlora_studio.core.errors import Forbidden, InvalidInput, NotFound
from qlora_studio.db.models import Adapter, BaseAudioModel, Clip, Dataset, Job, User
from qlora_studio.jobs import run_files
from qlora_studio.services import access, datasets, forecast, starts
from qlora_studio.services.access import Action
from qlora_studio.services.forecast_schemas import ClipStats
from qlora_studio.services.job_schemas import JobCheck
from qlora_studio.services.preference_pairs import Pairs, pair_up

MIN_TRAIN_CLIPS = 2
MIN_VALIDATION_CLIPS = 1
_LACKING = LEARNS_FROM | {Task.SPEAKER_DIARIZATION: "segments"}  # in the words of people
_TYPES = (TrainingType.QLORA, TrainingType.LORA, TrainingType.PRETRAINING, TrainingType.PREFERENCE)


def parse_spec(data: Any) -> TrainSpec:
    """Read a spec from JSON-like data.

    Raises:
        InvalidInput: naming each wrong field.
    """
    try:
        return TrainSpec.model_validate(data)
    except ValidationError as error:
        raise InvalidInput("Some parameters are wrong.", fields=fields_of(error)) from error


def fields_of(error: ValidationError) -> dict[str, str]:
    """Turn pydantic's complaints into a sentence for each dotted field."""
    fields: dict[str, str] = {}
    for item in error.errors():
        parts = [str(p) for p in item["loc"] if not str(p).startswith(("literal", "list[", "function-"))]
        text = {"extra_forbidden": "This parameter is not known.", "missing": "This is required."}.get(
            item["type"], str(item["msg"]).removeprefix("Value error, ")
        )
        fields.setdefault(".".join(parts) or "spec", text if text.endswith(".") else text + ".")
    return fields


def validate(session: Session, *, actor: User, spec: TrainSpec, pairs: Pairs | None = None) -> JobCheck:
    """Check a spec against the actor's data and forecast what it needs; nothing is stored.

    Args:
        pairs: the dataset's, where they have been found a moment ago.
    """
    check = JobCheck(yaml=run_files.to_yaml(spec), command=command_of(spec))
    dataset = _find(check, "dataset_id", Dataset, spec.dataset_id, session=session, actor=actor)
    model = _find(check, "model_id", BaseAudioModel, spec.model_id, session=session, actor=actor)
    _check_type(check, spec)
    _check_devices(check, spec)
    clips: ClipStats | None = None
    if dataset is None:
        pass
    elif dataset.status is not DatasetStatus.READY:
        check.errors["dataset_id"] = f"“{dataset.name}” is not ready yet."
    else:
        clips = _check_clips(check, session, spec, dataset, pairs)
    if model is None:
        pass
    elif model.status is not ModelStatus.READY:
        check.errors["model_id"] = f"“{model.name}” is not ready: {model.error or model.status.value}."
    else:
        _check_targets(check, spec, model)
    if dataset is not None and model is not None and dataset.task != model.task:
        check.errors["model_id"] = (
            f"This model is for {model.task.value}, the dataset for {dataset.task.value}."
        )
    _check_after(check, session, actor, spec)
    _check_start(check, session, actor, spec)
    if dataset is not None and model is not None and check.ok:
        _add_forecast(check, starts.with_own_values(session, spec), model, dataset, clips)
    return check


def command_of(spec: TrainSpec) -> str:
    """The command line that runs the same job without a server."""
    return f"qlora-studio train {shlex.quote(_file_name(spec.name))}"


def usable_clips(clips: Iterable[ClipItem], task: Task) -> Iterable[ClipItem]:
    """The clips that the task can learn from: those with words, with a label, or with segments."""
    wanted = LEARNS_FROM.get(task)
    if wanted is None:
        return clips
    return (clip for clip in clips if (getattr(clip, wanted) or "").strip())


def _find(
    check: JobCheck, field: str, table: type[access.Thing], thing_id: str, *, session: Session, actor: User
) -> access.Thing | None:
    """Return what the spec names, if the actor may train with it; what is wrong else is noted."""
    try:
        return access.get(session, table, thing_id, actor=actor, action=Action.TRAIN)
    except (NotFound, Forbidden) as refusal:
        check.errors[field] = refusal.message
        return None


def _check_type(check: JobCheck, spec: TrainSpec) -> None:
    if spec.training_type not in _TYPES:
        known = ", ".join(t.value for t in _TYPES)
        check.errors["training_type"] = f"This kind of training is not offered yet. Choose one of: {known}."
    if spec.training_type is TrainingType.QLORA and spec.qlora.bits != 4:
        check.errors["qlora.bits"] = "QLoRA stores the base in 4 bits. Choose LoRA for 16 or 32."
    if spec.training_type is TrainingType.LORA and spec.qlora.bits == 4:
        check.errors["qlora.bits"] = "LoRA keeps the base in 16 or 32 bits. Choose QLoRA for 4."
    if spec.training_type is TrainingType.PREFERENCE and spec.augmentation and spec.augmentation.is_on:
        check.errors["augmentation"] = "Pairs are learnt from as they were heard. Leave the augmentation out."
    is_compared = spec.training_type in (TrainingType.QLORA, TrainingType.LORA)
    if spec.optimization.scheduler == "range_test" and not is_compared:
        check.errors["optimization.scheduler"] = "A learning rate test is for QLoRA and LoRA."


def _check_devices(check: JobCheck, spec: TrainSpec) -> None:
    wanted, most = spec.optimization.devices, devices.most_devices()
    if wanted == 1:
        return
    name = "optimization.devices"
    if wanted > most:
        have, give = ("1 device", "1") if most == 1 else (f"{most} devices", f"{most} or less")
        check.errors[name] = f"This machine has {have} for jobs. Give {give}."
    elif spec.training_type is TrainingType.PREFERENCE:
        check.errors[name] = "Preference tuning runs on one device. Give 1."
    elif spec.optimization.scheduler == "range_test":
        check.errors[name] = "A learning rate test runs on one device. Give 1."
    elif spec.optimization.batch_size < wanted:
        check.errors[name] = (
            f"A batch of {spec.optimization.batch_size} can't be shared by {wanted} devices: "
            "raise the batch size or give less."
        )


def _check_clips(
    check: JobCheck, session: Session, spec: TrainSpec, dataset: Dataset, pairs: Pairs | None
) -> ClipStats | None:
    """Look at what there is to learn from; returns its counts where they aren't those of the dataset."""
    _check_metric(check, spec, dataset)
    if spec.training_type is TrainingType.PREFERENCE:
        return _check_pairs(check, session, dataset, pairs)
    counts = _count_usable(session, dataset)
    n_train, n_validation = counts[Split.TRAIN], counts[Split.VALIDATION]
    if n_train < MIN_TRAIN_CLIPS:
        check.errors["dataset_id"] = (
            f"It has {n_train} usable clips to train on; {MIN_TRAIN_CLIPS} are needed."
        )
    elif n_validation < MIN_VALIDATION_CLIPS:
        check.errors["dataset_id"] = "It has no usable clip in the validation split. Split it first."
    if spec.optimization.batch_size > max(n_train, 1):
        check.warnings.append(f"The batch size is larger than the {n_train} training clips.")
    n_left_out = sum(n for n, _ in datasets.count_splits(session, dataset_id=dataset.id).values())
    n_left_out -= sum(counts.values())
    if n_left_out:
        what = f"{n_left_out} clip is" if n_left_out == 1 else f"{n_left_out} clips are"
        check.warnings.append(f"{what} left out: without {_LACKING[dataset.task]}.")
    return None


def _check_metric(check: JobCheck, spec: TrainSpec, dataset: Dataset) -> None:
    metrics = deciding(dataset.task, spec.training_type) or ("loss",)
    left_open = EvaluationSpec.model_fields["metric"].default  # then the worker takes the task's first
    if spec.evaluation.metric not in (*metrics, left_open):
        check.errors["evaluation.metric"] = f"For {dataset.task.value} choose one of: {', '.join(metrics)}."


def _check_pairs(
    check: JobCheck, session: Session, dataset: Dataset, pairs: Pairs | None
) -> ClipStats | None:
    if dataset.task is not Task.TEXT_TO_AUDIO:
        check.errors["training_type"] = "Preference tuning is for text-to-audio models."
        return None
    found = find_pairs(session, dataset) if pairs is None else pairs
    n_train, n_validation = found.count(Split.TRAIN), found.count(Split.VALIDATION)
    if problem := lacking_pairs(found):
        check.errors["dataset_id"] = problem
    if found.n_broken:
        what = "1 pair is" if found.n_broken == 1 else f"{found.n_broken} pairs are"
        check.warnings.append(f"{what} left out: a half is missing, there twice, or has another text.")
    if found.n_parted:
        what = "1 pair is" if found.n_parted == 1 else f"{found.n_parted} pairs are"
        check.warnings.append(
            f"{what} left out: one sound is held out, the other is not. Split the dataset anew to use them."
        )
    clips = forecast.read_clip_stats(session, dataset)
    return replace(clips, n_train=n_train, n_validation=n_validation)


def find_pairs(session: Session, dataset: Dataset) -> Pairs:
    """The pairs that preference tuning would learn from."""
    return pair_up(usable_clips(datasets.export_clips(session, dataset_id=dataset.id), dataset.task))


def lacking_pairs(found: Pairs) -> str:
    """Why these pairs are too few to learn from; empty if they are not."""
    n_train, n_validation = found.count(Split.TRAIN), found.count(Split.VALIDATION)
    if n_train >= MIN_TRAIN_CLIPS and n_validation >= MIN_VALIDATION_CLIPS:
        return ""
    return (
        f"It has {n_train} pairs to train on and {n_validation} held out; {MIN_TRAIN_CLIPS} and "
        f"{MIN_VALIDATION_CLIPS} are needed. A pair is two clips of the same text with labels such as 1+ "
        "(better) and 1- (worse)."
    )


def _count_usable(session: Session, dataset: Dataset) -> dict[Split, int]:
    query = select(Clip.split, func.count()).where(
        col(Clip.dataset_id) == dataset.id, col(Clip.status) == ClipStatus.OK
    )
    if dataset.task in LEARNS_FROM:
        wanted = getattr(Clip, LEARNS_FROM[dataset.task])
        query = query.where(func.trim(func.coalesce(wanted, "")) != "")
    found = dict(session.exec(query.group_by(col(Clip.split))).all())
    return {split: int(found.get(split, 0)) for split in Split}


def _check_targets(check: JobCheck, spec: TrainSpec, model: BaseAudioModel) -> None:
    wanted = spec.qlora.target_modules
    if not isinstance(wanted, list) or not model.lora_targets or spec.start_adapter_id:
        return  # a start adapter's layers are its own
    unknown = [name for name in wanted if name not in model.lora_targets]
    if not wanted:
        check.errors["qlora.target_modules"] = "Choose at least one layer."
    elif unknown:
        check.errors["qlora.target_modules"] = f"The model has no layer {', '.join(unknown[:5])}."


def _check_after(check: JobCheck, session: Session, actor: User, spec: TrainSpec) -> None:
    if spec.after_job_id is None:
        return
    mine = select(Job.id).where(col(Job.id) == spec.after_job_id, col(Job.owner_id) == actor.id)
    if session.exec(mine).first() is None:
        check.errors["after_job_id"] = "There is no such job."


def _check_start(check: JobCheck, session: Session, actor: User, spec: TrainSpec) -> None:
    """An adapter to train on has to be the actor's, of this model, and there."""
    if spec.start_adapter_id is None:
        return
    name = "start_adapter_id"
    adapter = _find(check, name, Adapter, spec.start_adapter_id, session=session, actor=actor)
    if adapter is None:
        return
    if adapter.base_model_id != spec.model_id:
        check.errors[name] = (
            f"“{adapter.name}” is for another base model. Choose that one, or another adapter."
        )
    elif spec.training_type is TrainingType.PRETRAINING:
        check.errors[name] = "Pre-training starts from a whole model. Choose QLoRA or LoRA."
    elif (own := starts.read_own(Path(adapter.path))) is None:
        check.errors[name] = f"The files of “{adapter.name}” are not all there. Choose another adapter."
    else:
        taken = f"rank {own.rank}, alpha {own.alpha:g} and the layers"
        check.warnings.append(f"It trains “{adapter.name}” on: {taken} are that adapter's own.")


def _add_forecast(
    check: JobCheck, spec: TrainSpec, model: BaseAudioModel, dataset: Dataset, clips: ClipStats | None
) -> None:
    found = forecast.forecast_job(spec=spec, model=model, dataset=dataset, clips=clips)
    check.forecast = found.model_dump(mode="json")
    check.warnings += list(getattr(found, "warnings", []))


def _file_name(name: str) -> str:
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.") or "job"
    return f"{safe[:80]}.yaml"
