"""`qlora-studio dataset mapping|ingest`: how files would be read, before any is taken in."""

from typing import Annotated

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
)
from qlora_studio.commands.datasets import Columns, LabelFrom, app, print_taken_in, read_mapping, wait_for
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.ingest.preview import Preview
from qlora_studio.services import datasets, mapping_previews
from qlora_studio.services.datasets import DatasetUpdate


@app.command("mapping")
@command
def mapping(
    dataset_id: DatasetId,
    *,
    column: Columns = None,
    label_from: LabelFrom = "",
    keep: Annotated[bool, typer.Option("--keep", help="Read the files so from now on.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show how the files of a dataset would be read: columns, first rows, and what would not match."""
    wanted = read_mapping(column or [], label_from)
    if keep and not wanted:
        raise InvalidInput("Say what to keep: --column, --label-from.")
    with acting(user) as (session, actor):
        dataset = mapping_previews.find_files(session, actor=actor, dataset_id=dataset_id)
    found = mapping_previews.look(dataset, mapping=wanted or None)
    if keep:
        with acting(user, writes=True) as (session, actor):
            form = DatasetUpdate(mapping=wanted)
            datasets.update(session, actor=actor, dataset_id=dataset_id, form=form)
    print_json(found.as_json()) if as_json else _print(found)


@app.command("ingest")
@command
def ingest(dataset_id: DatasetId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Take in the files of a dataset that waits for it, or try again after an error."""
    actor = find_actor(user)
    with db.write() as session:
        datasets.start_ingest(session, actor=actor, dataset_id=dataset_id)
    print_taken_in(wait_for(actor, dataset_id, quiet=as_json), as_json=as_json)


def _print(found: Preview) -> None:
    if found.columns:
        print_line(f"Columns: {', '.join(found.columns)}")
    for name, column in found.mapping.items():
        print_line(f"{name} = {column}")
    rows = [(r.file, r.text or r.label or "", r.speaker or "", r.reason or "") for r in found.rows]
    print_table(("File", "Text or label", "Speaker", "Why not"), rows, empty="No recordings.")
    beginning = "of the first files " if found.is_partial else ""
    print_line(f"{found.n_matched:,} {beginning}would be taken in, {found.n_unmatched:,} not.")
    if found.refusal:
        print_line(found.refusal)
