"""`qlora-studio dataset …`: what may be wrong in a dataset, what is left out, splits, versions, export."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from qlora_studio.commands.completing import DatasetId
from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    acting,
    command,
    find_actor,
    print_json,
    print_line,
    print_table,
    say,
)
from qlora_studio.commands.datasets import app, public
from qlora_studio.commands.jobs import save_new
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.contracts.enums import Split
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import exclusions, exports, reports, splits, versions
from qlora_studio.services.exclusions import ExclusionCreate
from qlora_studio.services.exports import ExportFormat
from qlora_studio.services.splits import SplitRequest
from qlora_studio.services.versions import Kind
from qlora_studio.storage import atomic

Version = Annotated[int | None, typer.Option(min=1, help="Which version; the present one if none is named.")]


@app.command("report")
@command
def report(dataset_id: DatasetId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Say what may be wrong with a dataset's clips."""
    found = _report(find_actor(user), dataset_id)
    if as_json:
        print_json(found)
        return
    rows = [
        (check.key, check.title, check.n_clips, check.n_to_leave_out or "", _limits(check))
        for check in found.checks
        if check.n_clips
    ]
    print_line(f"Version {found.version}: {found.n_clips:,} clips in use, {found.n_flagged:,} with findings")
    print_table(("Check", "", "Clips", "Would go", "Limit"), rows, empty="Nothing was found.")


@app.command("limits")
@command
def limits(
    dataset_id: DatasetId,
    *,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", help="A limit of `dataset report`, e.g. silent_below_db=-45."),
    ] = None,
    default: Annotated[
        list[str] | None, typer.Option("--default", help="One to set back; may be given several times.")
    ] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show the limits of a dataset's report, or set some."""
    wanted: dict[str, float | None] = dict.fromkeys(default or [])
    for given in limit or []:
        key, _, value = given.partition("=")
        try:
            wanted[key.strip()] = float(value)
        except ValueError:
            raise InvalidInput(f"“{given}” isn't limit=number, e.g. silent_below_db=-45.") from None
    actor = find_actor(user)
    if wanted:
        with db.write() as session:
            reports.set_limits(session, actor=actor, dataset_id=dataset_id, limits=wanted)
    found = _report(actor, dataset_id)
    known = [limit for check in found.checks for limit in check.limits]
    if as_json:
        print_json({limit.key: limit.value for limit in known})
        return
    rows = [(limit.key, f"{limit.value:g}", limit.unit) for limit in known]
    print_table(("Limit", "", ""), rows, empty="Nothing has a limit.")


@app.command("exclusions")
@command
def list_exclusions(dataset_id: DatasetId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """List what was left out together and can be taken back, newest first."""
    with acting(user) as (session, actor):
        found = exclusions.list_exclusions(session, actor=actor, dataset_id=dataset_id)
    if as_json:
        print_json([_exclusion(view) for view in found])
        return
    rows = [
        (
            v.exclusion.id,
            v.exclusion.check or "by hand",
            v.n_left_out,
            f"{v.exclusion.created_at:%Y-%m-%d %H:%M}",
        )
        for v in found
    ]
    print_table(("ID", "Check", "Clips", "When (UTC)"), rows, empty="Nothing is left out together.")


@app.command("exclude")
@command
def exclude(dataset_id: DatasetId, check: str, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Leave out what a check found; of duplicates the first stays."""
    actor = find_actor(user)
    reports.bring_up_to_date(actor=actor, dataset_id=dataset_id)
    with db.write() as session:
        form = ExclusionCreate(check=check)
        made = exclusions.create(session, actor=actor, dataset_id=dataset_id, form=form)
    if as_json:
        print_json(_exclusion(made))
    else:
        print_line(f"{made.exclusion.id}  {made.n_left_out:,} clips left out")


@app.command("include")
@command
def include(dataset_id: DatasetId, exclusion_id: str, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Take back exactly the clips that an exclusion left out."""
    with acting(user, writes=True) as (session, actor):
        n_clips = exclusions.undo(session, actor=actor, dataset_id=dataset_id, exclusion_id=exclusion_id)
    if as_json:
        print_json({"n_clips": n_clips})
    else:
        print_line(f"{n_clips:,} clips taken back")


@app.command("split")
@command
def split(
    dataset_id: DatasetId,
    *,
    validation: Annotated[float, typer.Option(min=0, max=1, help="Share held out to measure.")] = 0.2,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share not touched.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another choice.")] = 0,
    stratify: Annotated[bool, typer.Option("--stratify", help="Deal out each label by itself.")] = False,
    by_speaker: Annotated[bool, typer.Option("--by-speaker", help="Keep each speaker on one side.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what it would give.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Deal the clips out to train, validation and test."""
    ratios = {Split.TRAIN: 1 - validation - test, Split.VALIDATION: validation, Split.TEST: test}
    form = SplitRequest(ratios=ratios, seed=seed, stratify=stratify or None, group_by_speaker=by_speaker)
    with acting(user) as (session, actor):
        plan = splits.plan(session, actor=actor, dataset_id=dataset_id, form=form)
    if not preview:
        with acting(user, writes=True) as (session, actor):
            dataset = splits.apply(session, actor=actor, plan=plan)
    if as_json:
        print_json(plan.preview if preview else public(dataset))
        return
    rows = [
        (name.value, part.n_clips, f"{part.duration_s / 60:.1f} min", part.n_speakers, part.n_labels)
        for name, part in plan.preview.splits.items()
    ]
    print_table(("Split", "Clips", "Length", "Speakers", "Classes"), rows, empty="")
    moved = f"{plan.preview.n_moved:,} clips {'would move' if preview else 'moved'}"
    print_line(f"{moved}, {plan.preview.n_shared_speakers:,} speakers in more than one split")


@app.command("versions")
@command
def list_versions(
    dataset_id: DatasetId,
    *,
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List a dataset's versions, newest first."""
    with acting(user) as (session, actor):
        found, total = versions.list_versions(
            session, actor=actor, dataset_id=dataset_id, page=page, page_size=PAGE_SIZE
        )
    rows = [
        (v.number, f"{v.created_at:%Y-%m-%d %H:%M}", v.n_clips, v.summary, v.content_hash[:12]) for v in found
    ]
    print_page(
        [version.model_dump(mode="json", exclude={"dataset_id"}) for version in found],
        ("Version", "Made", "Clips", "What was done", "Hash"),
        rows,
        total=total,
        page=page,
        empty="No versions yet.",
        as_json=as_json,
    )


@app.command("compare")
@command
def compare(
    dataset_id: DatasetId,
    earlier: Annotated[int, typer.Argument(min=1, help="A version.")],
    later: Annotated[int, typer.Argument(min=1, help="Another one.")],
    *,
    kind: Annotated[Kind | None, typer.Option(help="Only these.")] = None,
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Say what differs between two versions, clip by clip."""
    with acting(user) as (session, actor):
        found = versions.compare(
            session,
            actor=actor,
            dataset_id=dataset_id,
            earlier=earlier,
            later=later,
            kind=kind,
            page=page,
            page_size=PAGE_SIZE,
        )
    rows = [
        (d.clip_id, d.filename, d.kind, ", ".join(f"{k}: {d.before[k]} -> {d.after[k]}" for k in d.before))
        for d in found.items
    ]
    print_page(
        [asdict(difference) for difference in found.items],
        ("Clip", "File", "", "Before -> after"),
        rows,
        total=found.total,
        page=page,
        empty="They are the same.",
        as_json=as_json,
    )


@app.command("restore")
@command
def restore(dataset_id: DatasetId, number: int, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Make a new version with the content of a former one."""
    with acting(user, writes=True) as (session, actor):
        dataset = versions.restore(session, actor=actor, dataset_id=dataset_id, number=number)
    if as_json:
        print_json(public(dataset))
    else:
        print_line(f"{dataset.id} is at version {dataset.version}: {dataset.n_clips:,} clips")


@app.command("export")
@command
def export(
    dataset_id: DatasetId,
    *,
    format: Annotated[ExportFormat, typer.Option(help="What to write.")] = ExportFormat.AUDIOFOLDER,
    version: Version = None,
    to: Annotated[Path | None, typer.Option("--to", help="Where to write it.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Write a version as files; for an audiofolder also the job that trains on it, beside it."""
    with acting(user) as (session, actor):
        made = exports.stream(session, actor=actor, dataset_id=dataset_id, format=format, version=version)
        recipe = exports.recipe(session, actor=actor, dataset_id=dataset_id, version=version)
    path = to or Path(made.name)
    save_new(path, made.pieces, as_json=as_json)
    if format is ExportFormat.AUDIOFOLDER and to is None:
        atomic.write_text(path.with_name(recipe.name), recipe.yaml)
        say(f"To train on it: {recipe.command}")


def _report(actor: User, dataset_id: str) -> reports.Report:
    reports.bring_up_to_date(actor=actor, dataset_id=dataset_id)
    with db.read() as session:
        return reports.get_report(session, actor=actor, dataset_id=dataset_id)


def _exclusion(view: exclusions.ExclusionView) -> dict[str, Any]:
    return {**view.exclusion.model_dump(mode="json"), "n_left_out": view.n_left_out}


def _limits(check: reports.CheckPublic) -> str:
    return ", ".join(f"{limit.key} {limit.value:g} {limit.unit}" for limit in check.limits)
