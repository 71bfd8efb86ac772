"""What the wizard reads and writes, in plain functions that run beside the event loop."""

from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from qlora_studio.contracts.enums import (
    ACTIVE_STATUSES,
    DatasetStatus,
    JobStatus,
    ModelStatus,
    Split,
    Task,
    TrainingType,
)
from qlora_studio.contracts.metrics import DECIDING, METRICS, deciding
from qlora_studio.core import devices
from qlora_studio.core.errors import Forbidden, InvalidInput, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.dataset import Dataset
from qlora_studio.db.models.model import BaseAudioModel
from qlora_studio.db.models.user import User
from qlora_studio.services import (
    adapters,
    datasets,
    draft_sweeps,
    drafts,
    job_access,
    job_checks,
    jobs,
    models,
    previews,
    sweeps,
)
from qlora_studio.services.access import Action, Shelf
from qlora_studio.services.drafts import Draft
from qlora_studio.services.presets import Preset, preset_for
from qlora_studio.state.wizard_fields import PREFERENCE_TYPE, TARGETS, TRAINING_TYPES
from qlora_studio.state.wizard_rows import (
    ChoiceRow,
    ClipPreviewRow,
    PartRow,
    ReviewView,
    SplitView,
    dataset_choice,
    memory_parts,
    model_choice,
    preview_row,
    review_view,
    split_view,
)

N_CHOICES = 24
_USABLE: dict[str, Any] = {"shelf": Shelf.ALL, "action": Action.TRAIN}  # what others share for use, too
_METRIC, _TYPE = "evaluation.metric", "training_type"
_AFTER, _START = "after_job_id", "start_adapter_id"
_SPEECH = DECIDING[Task.SPEECH_TO_TEXT]
LAST_CHOICE = 2  # from here on nothing has to be chosen any more


@dataclass(frozen=True)
class Loaded:
    """A draft with what its choices mean today. Choices that have gone are taken out of the draft."""

    draft: Draft
    datasets: list[ChoiceRow]
    models: list[ChoiceRow]
    dataset: ChoiceRow
    model: ChoiceRow
    splits: SplitView
    layers: list[str]
    preset_layers: dict[str, str]
    metrics: list[list[str]]
    most_devices: int
    reasons: list[str]
    targets: list[list[str]]
    training_types: list[list[str]]
    pairs: str
    befores: list[list[str]]
    starts: list[list[str]]


@dataclass(frozen=True)
class Review:
    """What the last step shows."""

    view: ReviewView
    parts: list[PartRow]
    warnings: list[str]
    errors: dict[str, str]
    batch: list[ClipPreviewRow] = field(default_factory=list)


def start_draft(actor: User, query: dict[str, str]) -> Draft | None:
    """Change the draft by what the address asks for; None if it asks nothing.

    That is a `dataset`, a `model`, an `adapter` to start from, or a job to `clone`; with a dataset or model
    also the `type` of training.

    Raises:
        NotFound: the job to clone, or the adapter, isn't the actor's.
    """
    if not any(query.get(name) for name in ("dataset", "model", "adapter", "clone")):
        return None
    with db.write() as session:
        if query.get("clone"):
            job = jobs.get_job(session, actor=actor, job_id=query["clone"], action=Action.TRAIN)
            draft = drafts.draft_after(session, actor=actor, job=job)
        else:
            draft = drafts.get_draft(session, actor=actor) or Draft()
        if query.get("adapter"):
            _start_from(session, actor, draft, query["adapter"])
        draft.dataset_id = query.get("dataset") or draft.dataset_id
        draft.model_id = query.get("model") or draft.model_id
        if query.get("type") in list(TrainingType):
            draft.values = (draft.values or drafts.preset_values()) | {_TYPE: query["type"]}
        draft.step = furthest(draft)
        drafts.save_draft(session, actor=actor, draft=draft)
    return draft


def _start_from(session: Session, actor: User, draft: Draft, adapter_id: str) -> None:
    """Have the draft train an adapter on, on the dataset that made it unless another is chosen."""
    adapter = adapters.get_view(session, actor=actor, adapter_id=adapter_id, action=Action.TRAIN).adapter
    draft.model_id = adapter.base_model_id
    draft.dataset_id = draft.dataset_id or adapter.dataset_id or ""
    draft.values = (draft.values or drafts.preset_values()) | {_START: adapter.id}


def furthest(draft: Draft) -> int:
    """The first step that still needs something: 0 dataset, 1 model, 2 parameters."""
    return 0 if not draft.dataset_id else 1 if not draft.model_id else 2


def load(actor: User, search: str = "", step: int | None = None) -> Loaded:
    """Read the draft, what can be chosen, and what was.

    Args:
        search: part of the name of what is to be chosen in this step.
        step: the step to show; the draft's own when None. Never beyond the first that lacks something.
    """
    with db.read() as session:
        draft = drafts.get_draft(session, actor=actor) or Draft(values=drafts.preset_values())
        dataset = _ready(datasets.get_dataset, session, actor, dataset_id=draft.dataset_id)
        model = _ready(models.get_model, session, actor, model_id=draft.model_id)
        if dataset is not None and model is not None and model.task != dataset.task:
            model = None
        draft.dataset_id = dataset.id if dataset is not None else ""
        draft.model_id = model.id if model is not None else ""
        wanted, reachable = draft.step if step is None else step, furthest(draft)
        draft.step = min(wanted, reachable if reachable < LAST_CHOICE else drafts.N_STEPS - 1)
        task = dataset.task if dataset is not None else None
        counts = datasets.count_splits(session, dataset_id=dataset.id) if dataset is not None else None
        preset = _preset(model, task, counts[Split.TRAIN][0] if counts else 0)
        lacks_pairs, pairs = _pairs(session, dataset if draft.step >= LAST_CHOICE else None)
        _apply_preset(draft, model, task, preset)
        has_looked = draft.step >= LAST_CHOICE  # pairs are looked for from there on
        if has_looked:
            job_access.expect_launch(session, actor=actor)
        if has_looked and lacks_pairs and draft.values.get(_TYPE) == TrainingType.PREFERENCE:
            draft.values |= {_TYPE: TrainingType.QLORA.value, "qlora.bits": "4"}
        befores, starts = _befores(session, actor), _starts(session, actor, model)
        for name, offered in ((_AFTER, befores), (_START, starts)):
            if draft.values.get(name) not in {item_id for item_id, _ in offered}:
                draft.values[name] = ""  # it has ended, has gone, or is for another model
        known = _deciding(task, draft.values.get(_TYPE))
        if draft.values.get(_METRIC) not in known:
            draft.values[_METRIC] = known[0]
        return Loaded(
            draft=draft,
            datasets=_dataset_choices(session, actor, search if draft.step == 0 else ""),
            models=_model_choices(session, actor, task, search if draft.step == 1 else ""),
            dataset=dataset_choice(dataset) if dataset is not None else ChoiceRow(),
            model=model_choice(model) if model is not None else ChoiceRow(),
            splits=split_view(counts) if counts is not None else SplitView(),
            layers=list(model.lora_targets) if model is not None else [],
            preset_layers=_preset_layers(model),
            most_devices=devices.most_devices(),
            metrics=[[key, _metric_label(key)] for key in known],
            reasons=preset.reasons,
            targets=_targets(model),
            training_types=[list(t) for t in (*TRAINING_TYPES, *([] if lacks_pairs else [PREFERENCE_TYPE]))],
            pairs=pairs,
            befores=befores,
            starts=starts,
        )


def _ready(get: Any, session: Any, actor: User, **key: str) -> Any:
    """The item, if the actor may train with it and it is ready."""
    if not all(key.values()):
        return None
    try:
        item = get(session, actor=actor, action=Action.TRAIN, **key)
    except (NotFound, Forbidden):
        return None
    return item if item.status in (DatasetStatus.READY, ModelStatus.READY) else None


def _preset(model: BaseAudioModel | None, task: Task | None, n_clips: int) -> Preset:
    if model is None:
        return Preset()
    family = str(model.details.get("family", ""))
    return preset_for(family=family, task=task, n_parameters=model.n_parameters, n_clips=n_clips)


def _apply_preset(draft: Draft, model: BaseAudioModel | None, task: Task | None, preset: Preset) -> None:
    if not draft.is_touched:
        kept = {name: text for name, text in draft.values.items() if name in drafts.STANDING}
        draft.values = drafts.preset_values(preset=preset) | kept
    if model is not None:
        draft.picked_layers = [name for name in draft.picked_layers if name in model.lora_targets]


def _pairs(session: Session, dataset: Dataset | None) -> tuple[bool, str]:
    """Whether a dataset lacks pairs to learn preferences from, and a sentence where the task can."""
    if dataset is None or dataset.task is not Task.TEXT_TO_AUDIO:
        return True, ""
    found = job_checks.find_pairs(session, dataset)
    if not found.whole:
        return True, "Preference needs pairs of clips, of which one was preferred. This dataset has none."
    if problem := job_checks.lacking_pairs(found):
        return True, f"Too few pairs for preference. {problem}"
    n_train, n_validation = found.count(Split.TRAIN), found.count(Split.VALIDATION)
    return False, f"Preference learns from {n_train:,} pairs of this dataset; {n_validation:,} are held out."


def _befores(session: Session, actor: User) -> list[list[str]]:
    """The jobs that this one can wait for: those that have not ended, newest first."""
    statuses = (JobStatus.QUEUED, *ACTIVE_STATUSES)
    found, _ = jobs.list_jobs(session, actor=actor, statuses=statuses, page_size=100)
    return [["", "Nothing: as soon as there is room"], *([view.job.id, view.job.name] for view in found)]


def _starts(session: Session, actor: User, model: BaseAudioModel | None) -> list[list[str]]:
    """What the job can start from: the base model, or one of its adapters, newest first."""
    plain = ["", "The base model as it is"]
    if model is None:
        return [plain]
    found, _ = adapters.list_adapters(session, actor=actor, model_id=model.id, page_size=100, **_USABLE)
    return [plain, *([view.adapter.id, view.adapter.name] for view in found)]


def _deciding(task: Task | None, training_type: str | None = None) -> tuple[str, ...]:
    if task is None:
        return _SPEECH
    kind = TrainingType.PREFERENCE if training_type == TrainingType.PREFERENCE else TrainingType.QLORA
    return deciding(task, kind) or _SPEECH


def _metric_label(key: str) -> str:
    name = METRICS["eval_loss" if key == "loss" else key].name
    return name[:1].upper() + name[1:]


def _preset_layers(model: BaseAudioModel | None) -> dict[str, str]:
    presets = model.details.get("layers", {}).get("presets", {}) if model is not None else {}
    return {name: ", ".join(layers) for name, layers in presets.items()}


def _targets(model: BaseAudioModel | None) -> list[list[str]]:
    """The ways to place the adapter that the model has."""
    known = _preset_layers(model)
    return [list(choice) for choice in TARGETS if not known or choice[0] in known]


def _dataset_choices(session: Any, actor: User, search: str) -> list[ChoiceRow]:
    found, _ = datasets.list_datasets(
        session, actor=actor, query=search, status=DatasetStatus.READY, page_size=N_CHOICES, **_USABLE
    )
    return [dataset_choice(dataset) for dataset in found]


def _model_choices(session: Any, actor: User, task: Task | None, search: str) -> list[ChoiceRow]:
    found, _ = models.list_models(
        session,
        actor=actor,
        query=search,
        status=ModelStatus.READY,
        task=task,
        page_size=N_CHOICES,
        **_USABLE,
    )
    return [model_choice(model) for model in found]


def save(actor: User, draft: Draft) -> None:
    """Keep the draft."""
    with db.write() as session:
        drafts.save_draft(session, actor=actor, draft=draft)


def discard(actor: User) -> None:
    """Throw the draft away."""
    with db.write() as session:
        drafts.delete_draft(session, actor=actor)


def field_errors(draft: Draft) -> dict[str, str]:
    """What is wrong with the parameters, by field."""
    try:
        draft_sweeps.build_sweep(draft)
    except InvalidInput as error:
        return error.fields
    return {}


def suggest_name(dataset: ChoiceRow, model: ChoiceRow) -> str:
    """A name for the adapter from what was chosen."""
    return f"{dataset.name}, {model.name}"[:120] if dataset.id and model.id else ""


def review(actor: User, draft: Draft) -> Review:
    """Check the job, forecast it, and decode a few of its clips; of a sweep its first job.

    Raises:
        InvalidInput: a parameter is wrong.
    """
    base, axes, specs = draft_sweeps.build_sweep(draft)
    spec = specs[0]
    with db.read() as session:
        check = jobs.validate(session, actor=actor, spec=spec)
        if axes:
            sweeps.add_to_check(check, base, axes)
        model: BaseAudioModel | None = models.find_model(
            session, actor=actor, model_id=spec.model_id, action=Action.TRAIN
        )
        rate = (model.sample_rate if model is not None else 0) or 16_000
        batch = previews.preview_batch(
            session,
            actor=actor,
            dataset_id=spec.dataset_id,
            sample_rate=rate,
            seed=spec.optimization.seed,
        )
    return Review(
        view=review_view(check),
        parts=memory_parts(check.forecast),
        warnings=check.warnings,
        errors=check.errors,
        batch=[preview_row(preview, rate) for preview in batch],
    )


def launch(actor: User, draft: Draft) -> str:
    """Queue the job of the draft, throw the draft away, and return the job's id. Twice gives the same job.

    Raises:
        InvalidInput: a parameter is wrong.
    """
    spec = drafts.build_spec(draft)
    with db.write() as session:
        job = jobs.submit(session, actor=actor, spec=spec, launch_key=draft.launch_key)
        _forget(session, actor, draft)
    return job.id


def launch_from(actor: User, draft: Draft) -> str:
    """Queue what the draft asks for, throw the draft away, and return the address of the job or sweep.

    Twice gives the same one.

    Raises:
        InvalidInput: a parameter, or a value to try, is wrong.
    """
    spec, axes, _ = draft_sweeps.build_sweep(draft)
    if not axes:
        return f"/training/{launch(actor, draft)}"
    with db.write() as session:
        group = sweeps.submit(session, actor=actor, spec=spec, axes=axes, launch_key=draft.launch_key)
        _forget(session, actor, draft)
    return f"/training/sweeps/{group.id}"


def _forget(session: Session, actor: User, draft: Draft) -> None:
    kept = drafts.get_draft(session, actor=actor)
    if kept is not None and kept.launch_key == draft.launch_key:
        drafts.delete_draft(session, actor=actor)


def find_rate(actor: User, draft: Draft) -> str:
    """Queue a range test of the draft's learning rate and return the job's id; the draft stays.

    Raises:
        InvalidInput: a parameter is wrong.
    """
    spec = drafts.range_test_of(drafts.build_spec(draft))
    with db.write() as session:
        drafts.save_draft(session, actor=actor, draft=draft)  # with presets, for when the rate is known
        launch_key = drafts.range_test_key(draft, spec)
        return jobs.submit(session, actor=actor, spec=spec, launch_key=launch_key).id


def add_example(actor: User) -> Dataset:
    """Add the embedded dataset."""
    with db.write() as session:
        return datasets.add_example(session, actor=actor)


def add_starter(actor: User) -> str:
    """Add the embedded model and return its id."""
    with db.write() as session:
        return models.add_starter(session, actor=actor).id
