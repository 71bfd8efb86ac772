"""`qlora-studio dataset show|edit|cancel|delete|clips|clip|edit-clip`: a dataset and its clips."""

from typing import Annotated, Any, Literal

import typer

from qlora_studio.commands.completing import ClipId, DatasetId
from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    YesFlag,
    acting,
    command,
    confirm,
    find_actor,
    print_fields,
    print_json,
    tell,
)
from qlora_studio.commands.datasets import app, public
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.contracts.enums import ClipStatus, Split
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models import Clip
from qlora_studio.services import clips, datasets, reports
from qlora_studio.services.access import Action
from qlora_studio.services.clips import ClipUpdate
from qlora_studio.services.datasets import DatasetUpdate


@app.command("show")
@command
def show(dataset_id: DatasetId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show what is known of a dataset; everything with --json."""
    with acting(user) as (session, actor):
        found = public(datasets.get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE))
    print_json(found) if as_json else print_fields(found)


@app.command("edit")
@command
def edit(
    dataset_id: DatasetId,
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    description: Annotated[str | None, typer.Option(help="What is in it.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Change a dataset's name or description."""
    if name is None and description is None:
        raise InvalidInput("Say what to change: --name, --description.")
    form = DatasetUpdate(name=name, description=description)
    with acting(user, writes=True) as (session, actor):
        changed = public(datasets.update(session, actor=actor, dataset_id=dataset_id, form=form))
    tell(f"{dataset_id} is changed", changed, as_json=as_json)


@app.command("cancel")
@command
def cancel(dataset_id: DatasetId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Stop taking files in, or the update that is under way."""
    with acting(user, writes=True) as (session, actor):
        found = public(datasets.cancel(session, actor=actor, dataset_id=dataset_id))
    tell(f"{dataset_id} {found['status']}", found, as_json=as_json)


@app.command("delete")
@command
def delete(
    dataset_id: DatasetId, yes: YesFlag = False, user: UserName = "", as_json: JsonFlag = False
) -> None:
    """Delete a dataset with its clips and versions; refused while jobs or adapters were made with it."""
    confirm(f"Delete {dataset_id} with its clips and versions?", yes=yes)
    with acting(user, writes=True) as (session, actor):
        datasets.delete(session, actor=actor, dataset_id=dataset_id)
    tell(f"{dataset_id} is gone.", {"id": dataset_id, "is_deleted": True}, as_json=as_json)


@app.command("clips")
@command
def list_clips(
    dataset_id: DatasetId,
    *,
    query: Annotated[str, typer.Option(help="Words in name, text, label or speaker.")] = "",
    split: Annotated[Split | None, typer.Option(help="Only those of this split.")] = None,
    status: Annotated[ClipStatus | None, typer.Option(help="Only those with this status.")] = None,
    label: Annotated[str | None, typer.Option(help="Only those of this class.")] = None,
    check: Annotated[str | None, typer.Option(help="Only those that this check found.")] = None,
    sort: Annotated[str, typer.Option(help="A column, - in front for descending.")] = "position",
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List a dataset's clips."""
    if check is not None:
        reports.bring_up_to_date(actor=find_actor(user), dataset_id=dataset_id)
    with acting(user) as (session, actor):
        found, total = clips.list_clips(
            session,
            actor=actor,
            dataset_id=dataset_id,
            query=query,
            split=split,
            status=status,
            label=label,
            check=check,
            sort=sort,
            page=page,
            page_size=PAGE_SIZE,
        )
    rows = [
        (c.id, c.filename, f"{c.duration_s:.1f} s", c.split.value, c.status.value, _words(c)) for c in found
    ]
    print_page(
        [_public(clip) for clip in found],
        ("ID", "File", "Length", "Split", "Status", "Text"),
        rows,
        total=total,
        page=page,
        empty="No clips.",
        as_json=as_json,
    )


@app.command("clip")
@command
def show_clip(clip_id: ClipId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show one clip."""
    with acting(user) as (session, actor):
        found = _public(clips.get_clip(session, actor=actor, clip_id=clip_id))
    print_json(found) if as_json else print_fields(found)


@app.command("edit-clip")
@command
def edit_clip(
    clip_id: ClipId,
    *,
    text: Annotated[str | None, typer.Option(help="What is said; empty: nothing.")] = None,
    label: Annotated[str | None, typer.Option(help="Its class; empty: none.")] = None,
    speaker: Annotated[str | None, typer.Option(help="Who speaks; empty: nobody known.")] = None,
    split: Annotated[Split | None, typer.Option(help="Another split.")] = None,
    excluded: Annotated[
        bool | None, typer.Option("--exclude/--include", help="Leave it out, or take it back.")
    ] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Correct a clip, or leave it out; the dataset gets its next version."""
    status: Literal[ClipStatus.OK, ClipStatus.EXCLUDED] | None = None
    if excluded is not None:
        status = ClipStatus.EXCLUDED if excluded else ClipStatus.OK
    given = {"text": text, "label": label, "speaker": speaker, "split": split, "status": status}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise InvalidInput("Say what to change: --text, --label, --speaker, --split, --exclude, --include.")
    form = ClipUpdate.model_validate(changes)
    with acting(user, writes=True) as (session, actor):
        changed = _public(clips.update(session, actor=actor, clip_id=clip_id, form=form))
    tell(f"{clip_id} is changed", changed, as_json=as_json)


def _words(clip: Clip) -> str:
    return clip.text or clip.label or ""


def _public(clip: Clip) -> dict[str, Any]:
    names = "id dataset_id filename duration_s text label speaker split status reason exclusion_id"
    return clip.model_dump(mode="json", include=set(names.split()))
