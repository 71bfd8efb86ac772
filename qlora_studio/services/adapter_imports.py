"""Adapters made elsewhere: taken in as a zip or a folder, checked, rewritten, registered like any other."""

import errno
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from sqlmodel import Session

from qlora_studio.contracts.spec import Strict
from qlora_studio.core.errors import Conflict, InvalidInput, StorageFull, TooLarge
from qlora_studio.core.ids import new_id
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, User
from qlora_studio.ingest import archives, quota, staging
from qlora_studio.modelfiles.adapters import ABOUT, CONFIG, CheckedAdapter, check_adapter
from qlora_studio.modelfiles.families import FAMILIES
from qlora_studio.modelfiles.safetensors_header import WeightsHeader, hash_weights
from qlora_studio.modelfiles.weights import find_weights
from qlora_studio.services import adapters, audit, models
from qlora_studio.services.access import Action
from qlora_studio.services.adapter_schemas import AdapterView
from qlora_studio.storage import atomic, layout

MAX_BYTES = 2 * 2**30
_MAX_FILES = 200
_FULL = "The disk is full. Free some space and try again."


class AdapterImport(Strict):
    """Which base model an adapter is for, what it shall be called, and what its file is called elsewhere."""

    model_id: Annotated[str, Field(min_length=1, max_length=32)]
    name: Annotated[str, Field(max_length=120)] = ""
    file_name: Annotated[str, Field(max_length=200)] = ""


def require_target(session: Session, *, actor: User, form: AdapterImport) -> BaseAudioModel:
    """Return the base model, before a single byte is received.

    Raises:
        Forbidden: the actor may not add adapters.
        NotFound: the model isn't the actor's, nor shared for use.
        Conflict: it isn't ready, or its files have changed.
    """
    adapters.require_trainer(actor)
    model = models.get_model(session, actor=actor, model_id=form.model_id, action=Action.TRAIN)
    models.check_unchanged(model)
    return model


def max_bytes() -> int:
    """The most bytes an adapter may have, packed or not."""
    return min(MAX_BYTES, get_settings().max_upload_bytes)


def check_size(n_bytes: int, *, free_bytes: int) -> None:
    """Make sure that a zip of so many bytes may come.

    Raises:
        TooLarge: it is more than an adapter can be.
        StorageFull: there is no room.
    """
    if n_bytes > max_bytes():
        raise TooLarge(f"An adapter has at most {max_bytes() / 2**20:,.0f} MB.")
    if n_bytes > free_bytes:
        raise StorageFull(_FULL)


@contextmanager
def receiving() -> Iterator[Path]:
    """A place for a zip that is being received; it is gone afterwards.

    Raises:
        StorageFull: writing to it has filled the disk.
    """
    root = layout.data_path() / "adapters"
    root.mkdir(parents=True, exist_ok=True)
    with _full_disk_named(), tempfile.TemporaryDirectory(prefix=".receiving-", dir=root) as folder:
        yield Path(folder) / "adapter.zip"


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(_FULL) from error
        raise


def take_in(*, actor: User, source: Path, form: AdapterImport) -> AdapterView:
    """Check a zip or a folder and register the adapter in it. Opens sessions of its own: hashing takes time.

    Raises:
        ModelRefused: it is no plain LoRA of this base model, or could run code.
        InvalidInput: it isn't a zip, or a dangerous one.
        TooLarge: it is more than an adapter can be, or than the account's quota has room for.
        StorageFull: there is no room.
    """
    adapters.sweep_leftovers()
    with db.read() as session:
        model = require_target(session, actor=actor, form=form)
    adapter_id = new_id("ada")
    target = layout.imported_path(adapter_id)
    with _full_disk_named(), _opened(source) as folder:
        checked = _check(folder, model)
        _require_room(actor, sum(header.size_bytes for header in _files(checked)))
        sha256 = hash_weights(checked.header)
        _write(checked, target)
    adapter = _row(adapter_id, actor, model, checked, form)
    adapter.origin = {**adapter.origin, "sha256": sha256}
    try:
        with db.write() as session:
            return _store(session, actor, adapter)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _files(checked: CheckedAdapter) -> list[WeightsHeader]:
    """What is copied as it is."""
    return [checked.header, *([checked.voices] if checked.voices else [])]


def _require_room(actor: User, n_bytes: int) -> None:
    with db.read() as session:
        quota.require_room(session, actor.id, n_bytes)
    check_size(n_bytes, free_bytes=staging.free_bytes())


def _row(
    adapter_id: str, actor: User, model: BaseAudioModel, checked: CheckedAdapter, form: AdapterImport
) -> Adapter:
    is_known = bool(checked.model_hash) and checked.model_hash == model.content_hash
    target = layout.imported_path(adapter_id)
    return Adapter(
        id=adapter_id,
        owner_id=actor.id,
        name=" ".join(form.name.split()) or Path(form.file_name).stem[:100] or "Imported adapter",
        base_model_id=model.id,
        base_model_hash=model.content_hash if is_known else "",
        path=str(target),
        size_bytes=sum(path.stat().st_size for path in target.iterdir()),
        origin={
            "kind": "imported",
            "file": form.file_name,
            "base_name": checked.base_name,
            "is_base_known": is_known,
            "rank": checked.rank,
            "n_layers": checked.n_layers,
            "dropped": checked.dropped[:50],
        },
    )


def _store(session: Session, actor: User, adapter: Adapter) -> AdapterView:
    quota.require_room(session, actor.id, adapter.size_bytes)  # others may have come while this was copied
    session.add(adapter)
    audit.record(
        session,
        actor=actor,
        action="adapter.import",
        object_type="adapter",
        object_id=adapter.id,
        object_name=adapter.name,
        details={"sha256": adapter.origin["sha256"]},
    )
    session.flush()
    return adapters.get_view(session, actor=actor, adapter_id=adapter.id)


def _check(folder: Path, model: BaseAudioModel) -> CheckedAdapter:
    family = FAMILIES.get(str(model.details.get("family", "")))
    if family is None:
        raise Conflict(f"The model “{model.name}” has to be checked again first.")
    headers = find_weights(Path(model.path))
    base = {name: tensor for header in headers for name, tensor in header.tensors.items()}
    return check_adapter(folder, base=base, family=family, task=model.task)


@contextmanager
def _opened(source: Path) -> Iterator[Path]:
    """The folder that holds `adapter_config.json`, unpacked if it came as a zip."""
    if source.is_dir():
        yield _find_root(source)
        return
    check_size(source.stat().st_size, free_bytes=staging.free_bytes())  # it comes out at least as large
    if archives.kind_of(source) != "zip":
        raise InvalidInput("That is no zip file. Pack the adapter's folder as a zip.")
    limits = archives.ArchiveLimits(max_bytes(), max_bytes(), _MAX_FILES)
    root = layout.data_path() / "adapters"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=root) as name:
        folder = Path(name)
        try:
            # Files of an adapter lie side by side; what lies deeper is not looked at, so it goes by number.
            numbers = iter(range(_MAX_FILES + 1))
            archives.extract(
                source,
                lambda entry: folder / (entry if "/" not in entry else f".deeper-{next(numbers)}"),
                limits=limits,
                free_bytes=staging.free_bytes(),
            )
        except archives.ArchiveRefused as error:
            raise InvalidInput(f"The zip is refused: {error}") from error
        yield _find_root(folder)


def _find_root(folder: Path) -> Path:
    """The folder itself, or the only one in it that holds an adapter."""
    if (folder / CONFIG).is_file():
        return folder
    inside = [path.parent for path in folder.glob(f"*/{CONFIG}") if not path.parent.is_symlink()]
    return inside[0] if len(inside) == 1 else folder


def _write(checked: CheckedAdapter, target: Path) -> None:
    """Write the adapter's own folder, whole or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.mkdir(parents=True)
        for header in _files(checked):
            shutil.copyfile(header.path, partial / header.path.name, follow_symlinks=False)
        _write_json(partial / CONFIG, checked.config)
        _write_json(partial / ABOUT, checked.about)
        partial.rename(target)
        atomic.sync_folder(target.parent)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_json(path: Path, value: dict[str, Any]) -> None:
    atomic.write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")
