"""`qlora-studio backup` and `restore`: everything in one file, and back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from qlora_studio.commands.console import JsonFlag, command, err, print_json, print_line, say
from qlora_studio.core.settings import get_settings
from qlora_studio.services import backups, restoring

_NAMED = 5


@command
def backup(
    target: Annotated[
        Path,
        typer.Argument(help="The .zip to write, or a folder to put one into under today's date and time."),
    ] = Path(),
    replace: Annotated[bool, typer.Option("--replace", help="Replace a file of that name.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write database and files into one zip, while server and jobs go on. It holds secrets: keep it safe."""
    settings = get_settings()
    with _bar("Copying", quiet=as_json) as tell:
        made = backups.make_backup(
            target=target,
            data_path=settings.data_path,
            database_url=settings.resolved_database_url,
            replace=replace,
            tell=tell,
        )
    if as_json:
        told = {"path": str(made.path), "size_bytes": made.size_bytes, "n_files": made.n_files}
        print_json(told | {"data_bytes": made.data_bytes, "revision": made.revision, "missing": made.missing})
        return
    print_line(f"{made.path} ({_size(made.size_bytes)}, {made.n_files:,} files)")
    if made.missing:
        shown = ", ".join(made.missing[:_NAMED]) + (", …" if len(made.missing) > _NAMED else "")
        say(
            f"warning: {len(made.missing):,} files that the database names are not in the data folder, nor "
            f"in the backup: {shown}"
        )


@command
def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    into: Annotated[
        Path | None, typer.Option("--into", help="The folder to restore; by default QLORA_STUDIO_DATA.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move what is in the folder aside; nothing is deleted.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only read and verify the backup.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Verify a backup and put it into a data folder. Nothing starts by itself afterwards."""
    if check:
        with _bar("Checking", quiet=as_json) as tell:
            manifest = restoring.check_backup(source=file, tell=tell)
        if as_json:
            print_json({"ok": True, **manifest.model_dump(mode="json", exclude={"files"})})
        else:
            made = f"made {manifest.made_at:%Y-%m-%d %H:%M} UTC by version {manifest.product_version}"
            print_line(
                f"{file} is whole: {len(manifest.files):,} files, {_size(manifest.size_bytes)}, {made}"
            )
        return
    settings = get_settings()
    with _bar("Restoring", quiet=as_json) as tell:
        done = restoring.restore_backup(
            source=file,
            into=into or settings.data_path,
            database_url=settings.database_url,
            replace=replace,
            tell=tell,
        )
    if as_json:
        told = done.manifest.model_dump(mode="json", exclude={"files"})
        told |= {"folder": str(done.folder), "aside": str(done.aside) if done.aside else None}
        print_json(told | {"n_files": len(done.manifest.files), "n_jobs_lost": done.n_jobs_lost})
        return
    print_line(f"{done.folder} ({len(done.manifest.files):,} files, {_size(done.manifest.size_bytes)})")
    if done.aside is not None:
        print_line(f"What was there is in {done.aside}.")
    if done.n_jobs_lost:
        print_line(f"Jobs that ran when the backup was made: {done.n_jobs_lost}. Each can be resumed.")
    if done.folder != settings.data_path:
        print_line(f"Start a server on it with QLORA_STUDIO_DATA={done.folder} qlora-studio serve")


@contextmanager
def _bar(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, and nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    is_off = quiet or not err.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=err, disable=is_off, transient=True) as progress:
        task = progress.add_task(what, total=None)

        def tell(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield tell


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
