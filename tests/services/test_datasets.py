"""Datasets as their owner uses them, and as nobody else can."""

import pytest
from sqlmodel import select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Role, Split, Task, TrainingType
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine
from qlora_studio.db.models import AuditEvent, BaseAudioModel, Clip, Dataset, Job, User
from qlora_studio.ingest import launching, pipeline, staging
from qlora_studio.services import clips, datasets
from qlora_studio.services.clips import ClipUpdate
from qlora_studio.services.datasets import DatasetCreate, DatasetUpdate
from qlora_studio.storage import layout
from tests.ingest import sounds
from tests.ingest.test_pipeline import stage

pytestmark = pytest.mark.usefixtures("decoding_here")


@pytest.fixture(autouse=True)
def launched(monkeypatch):
    """Ids of the datasets whose processes were started; none really is."""
    started: list[str] = []
    monkeypatch.setattr(launching, "launch", started.append)
    return started


def create(user, *, name="d", **fields) -> Dataset:
    with engine.write() as session:
        return datasets.create(session, actor=user, form=DatasetCreate(name=name, **fields))


def ready(user, *, n=10, name="d", **fields) -> Dataset:
    dataset = create(user, name=name, **fields)
    table = "file_name,text\n" + "".join(f"{i}.wav,text {i}\n" for i in range(n))
    stage(
        dataset.id,
        {f"{i}.wav": sounds.wav(0.06, pitch=200 + i) for i in range(n)} | {"metadata.csv": table.encode()},
    )
    with engine.write() as session:
        datasets.start_ingest(session, actor=user, dataset_id=dataset.id)
    pipeline.run(dataset.id)
    return get(user, dataset.id)


def get(user, dataset_id) -> Dataset:
    with engine.read() as session:
        return datasets.get_dataset(session, actor=user, dataset_id=dataset_id)


def test_an_upload_waits_for_files_then_is_taken_in_once(user, launched):
    dataset = create(user, name="  Calls  ", description="x")
    assert (dataset.name, dataset.status) == ("Calls", DatasetStatus.AWAITING_FILES)
    with engine.write() as session, pytest.raises(Conflict, match="No file has been received"):
        datasets.start_ingest(session, actor=user, dataset_id=dataset.id)
    stage(dataset.id, {"a.wav": sounds.wav()})
    for _ in range(2):
        with engine.write() as session:
            datasets.start_ingest(session, actor=user, dataset_id=dataset.id)
    assert launched == [dataset.id]
    assert get(user, dataset.id).status is DatasetStatus.PROCESSING


def test_a_process_is_started_only_after_the_commit(user, launched):
    with pytest.raises(RuntimeError), engine.write() as session:
        datasets.add_example(session, actor=user)
        assert launched == []
        raise RuntimeError
    assert launched == []


def test_the_example_is_added_once(user, launched):
    found = []
    for _ in range(2):
        with engine.write() as session:
            found.append(datasets.add_example(session, actor=user).id)
    assert found[0] == found[1]
    assert launched == [found[0]]


def test_recover_goes_on_with_what_was_unfinished(user, launched):
    with engine.write() as session:
        datasets.add_example(session, actor=user)
    create(user)
    launched.clear()
    with engine.read() as session:
        unfinished = datasets.recover(session)
    assert launched == unfinished
    assert len(unfinished) == 1


def test_a_stranger_finds_nothing(user, stranger):
    dataset = ready(user, n=2)
    with engine.read() as session:
        clip = session.exec(select(Clip)).first()
        for call in (
            lambda: datasets.get_dataset(session, actor=stranger, dataset_id=dataset.id),
            lambda: datasets.delete(session, actor=stranger, dataset_id=dataset.id),
            lambda: datasets.start_ingest(session, actor=stranger, dataset_id=dataset.id),
            lambda: datasets.prepare_upload(session, actor=stranger, dataset_id=dataset.id),
            lambda: datasets.update(
                session, actor=stranger, dataset_id=dataset.id, form=DatasetUpdate(name="x")
            ),
            lambda: clips.list_clips(session, actor=stranger, dataset_id=dataset.id),
            lambda: clips.get_clip(session, actor=stranger, clip_id=clip.id),
            lambda: clips.get_audio(session, actor=stranger, clip_id=clip.id),
            lambda: clips.update(session, actor=stranger, clip_id=clip.id, form=ClipUpdate(text="x")),
        ):
            with pytest.raises(NotFound):
                call()
        assert datasets.list_datasets(session, actor=stranger) == ([], 0)


def test_a_viewer_may_not_change_anything(session, user):
    user.role = Role.VIEWER
    with pytest.raises(Forbidden):
        datasets.create(session, actor=user, form=DatasetCreate(name="x"))


def test_the_list_searches_filters_sorts_and_pages(user):
    for name, task in (
        ("Beta", Task.SPEECH_TO_TEXT),
        ("alpha", Task.SPEECH_TO_TEXT),
        ("100% x_y", Task.TEXT_TO_AUDIO),
    ):
        create(user, name=name, task=task)

    def names(**options):
        with engine.read() as session:
            found, total = datasets.list_datasets(session, actor=user, **options)
        return [d.name for d in found], total

    assert names(sort="name") == (["100% x_y", "alpha", "Beta"], 3)
    assert names(sort="-name", page=2, page_size=2) == (["100% x_y"], 3)
    assert names(query="ALP") == (["alpha"], 1)
    assert names(query="%") == (["100% x_y"], 1)
    assert names(query="x_y") == (["100% x_y"], 1)
    assert names(task=Task.TEXT_TO_AUDIO) == (["100% x_y"], 1)
    assert names(status=DatasetStatus.READY) == ([], 0)
    with pytest.raises(InvalidInput):
        names(sort="password_hash")


def test_export_gives_usable_clips_with_paths(user):
    dataset = ready(user, n=3)
    with engine.write() as session:
        first = session.exec(select(Clip).order_by(Clip.position)).first()
        clips.update(session, actor=user, clip_id=first.id, form=ClipUpdate(status=ClipStatus.EXCLUDED))
        items = list(datasets.export_clips(session, dataset_id=dataset.id))
    assert [item.text for item in items] == ["text 1", "text 2"]
    assert all(item.path.startswith(str(layout.data_path())) for item in items)


def test_correcting_a_clip_makes_a_version(user):
    dataset = ready(user, n=2)
    with engine.write() as session:
        clip = session.exec(select(Clip)).first()
        clips.update(session, actor=user, clip_id=clip.id, form=ClipUpdate(text=" better ", split=Split.TEST))
    with engine.read() as session:
        again = session.get_one(Clip, clip.id)
    assert (again.text, again.split) == ("better", Split.TEST)
    assert get(user, dataset.id).version == dataset.version + 1


def test_a_clip_can_be_left_out_and_taken_back(user):
    dataset = ready(user, n=3)
    with engine.write() as session:
        clip = session.exec(select(Clip)).first()
        clips.update(session, actor=user, clip_id=clip.id, form=ClipUpdate(status=ClipStatus.EXCLUDED))
    assert (get(user, dataset.id).n_clips, get(user, dataset.id).n_excluded) == (2, 1)
    with engine.write() as session:
        clips.update(session, actor=user, clip_id=clip.id, form=ClipUpdate(status=ClipStatus.OK))
        assert session.get_one(Clip, clip.id).reason is None
    assert get(user, dataset.id).content_hash == dataset.content_hash, "back to the same content"


def test_delete_names_what_was_made_with_it(user: User):
    dataset = ready(user, n=2)
    with engine.write() as session:
        model = BaseAudioModel(owner_id=user.id, name="m", task=Task.SPEECH_TO_TEXT)
        session.add(model)
        session.flush()
        session.add(Job(owner_id=user.id, name="night run", training_type=TrainingType.QLORA,
                        dataset_id=dataset.id, model_id=model.id))  # fmt: skip
    with engine.write() as session, pytest.raises(Conflict) as refusal:
        datasets.delete(session, actor=user, dataset_id=dataset.id)
    assert refusal.value.users_of == ["job night run (queued)"]
    assert get(user, dataset.id).n_clips == 2


def test_delete_removes_only_bytes_nobody_else_has(user):
    first, second = ready(user, n=3, name="a"), ready(user, n=2, name="b")
    blobs = layout.data_path() / "blobs"
    assert len([p for p in blobs.rglob("*") if p.is_file()]) == 3, "equal bytes are kept once"
    with engine.write() as session:
        datasets.delete(session, actor=user, dataset_id=first.id)
    assert len([p for p in blobs.rglob("*") if p.is_file()]) == 2
    with engine.write() as session:
        datasets.delete(session, actor=user, dataset_id=second.id)
    assert [p for p in blobs.rglob("*") if p.is_file()] == []
    with engine.read() as session:
        assert session.exec(select(Clip)).all() == []
        actions = session.exec(select(AuditEvent.action)).all()
    assert actions.count("dataset.delete") == 2


def test_folders_outside_the_roots_are_refused(user, tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    monkeypatch.setenv("QLORA_STUDIO_DATASET_ROOTS", str(root))
    get_settings.cache_clear()
    for path in ("/etc", "relative", "", None, f"{root}/../outside", f"{root}/link", f"{root}/gone", "a\0b"):
        with pytest.raises(InvalidInput) as refusal:
            create(user, source={"kind": "folder", "path": path})
        assert refusal.value.fields["source.path"] == f"Give a folder under {root}.", path


def test_a_folder_under_a_root_is_taken_in_at_once(user, tmp_path, monkeypatch, launched):
    sounds.write(tmp_path / "root" / "set", {"a.wav": sounds.wav()})
    monkeypatch.setenv("QLORA_STUDIO_DATASET_ROOTS", str(tmp_path / "root"))
    get_settings.cache_clear()
    dataset = create(user, source={"kind": "folder", "path": str(tmp_path / "root" / "set")})
    assert launched == [dataset.id]
    pipeline.run(dataset.id)
    assert get(user, dataset.id).status is DatasetStatus.READY


def test_the_task_is_fixed_once_files_are_in(user):
    dataset = ready(user, n=2)
    with engine.write() as session, pytest.raises(Conflict):
        datasets.update(
            session, actor=user, dataset_id=dataset.id, form=DatasetUpdate(task=Task.TEXT_TO_AUDIO)
        )
    with engine.write() as session:
        renamed = datasets.update(session, actor=user, dataset_id=dataset.id, form=DatasetUpdate(name="new"))
    assert renamed.name == "new"


def test_no_file_can_be_added_once_it_is_ready(user):
    dataset = ready(user, n=2)
    with engine.read() as session, pytest.raises(Conflict):
        datasets.prepare_upload(session, actor=user, dataset_id=dataset.id)
    assert staging.list_received(dataset.id) == []
