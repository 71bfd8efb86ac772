"""A clip's spectrogram and its varied sound through REST, drawn by the real child."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from PIL import Image

from qlora_studio.api.security import current_user
from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Task
from qlora_studio.db.models import Clip, Dataset
from qlora_studio.services import rendering
from qlora_studio.storage import layout
from tests.ingest import sounds

NOISE = {"noise": {"probability": 1.0, "min_snr_db": 10, "max_snr_db": 10}}


@pytest.fixture
def clips(session, user) -> dict[str, str]:
    """A clip that can be heard, one whose file has gone bad, and one that was rejected: id by name."""
    dataset = Dataset(owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT, status=DatasetStatus.READY)
    session.add(dataset)
    session.flush()
    made = {}
    for number, (name, content) in enumerate({"good": sounds.wav(1.0, rate=44_100), "bad": b"x"}.items()):
        clip = Clip(dataset_id=dataset.id, position=number, filename=name, sha256=f"{number:064x}")
        path = layout.blob_path(clip.sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        session.add(clip)
        made[name] = clip.id
    rejected = Clip(dataset_id=dataset.id, position=9, filename="no", status=ClipStatus.REJECTED)
    session.add(rejected)
    session.commit()
    return made | {"rejected": rejected.id, "dataset": dataset.id}


@pytest.mark.slow
def test_a_spectrogram_is_drawn_once_kept_and_not_sent_twice(client, clips, monkeypatch):
    url = f"/clips/{clips['good']}/spectrogram"
    first = client.get(url)
    assert (first.status_code, first.headers["content-type"]) == (200, "image/png")
    assert first.headers["x-content-type-options"] == "nosniff"
    assert "private" in first.headers["cache-control"]
    assert Image.open(io.BytesIO(first.content)).size == (101, 128)
    monkeypatch.setattr(rendering._renderer, "render", lambda _: pytest.fail("drawn again"))
    assert client.get(url).content == first.content
    again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(url, headers={"If-None-Match": '"another"'}).status_code == 200


def test_a_full_disk_costs_the_copy_not_the_picture(client, clips, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rendering.atomic, "write_bytes", full)
    assert client.get(f"/clips/{clips['good']}/spectrogram").status_code == 200
    assert list((layout.data_path()).rglob("*.png")) == []


def heard(answer) -> tuple[np.ndarray, int]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["x-content-type-options"] == "nosniff"
    return sf.read(io.BytesIO(answer.content))


def test_the_varied_sound_follows_dataset_seed_and_epoch(client, clips):
    url = f"/clips/{clips['good']}/augmented"
    plain, rate = heard(client.get(url))
    assert (rate, len(plain)) == (16_000, 16_000)
    kept = client.patch(f"/datasets/{clips['dataset']}", json={"augmentation": NOISE})
    assert kept.json()["augmentation"] == NOISE
    varied, _ = heard(client.get(url, params={"seed": 1}))
    noise = varied - plain
    assert 10 * np.log10(np.mean(plain**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.5)
    assert np.array_equal(heard(client.get(url, params={"seed": 1}))[0], varied)
    for other in ({"seed": 2}, {"seed": 1, "epoch": 1}):
        assert not np.array_equal(heard(client.get(url, params=other))[0], varied)
    assert (
        client.patch(f"/datasets/{clips['dataset']}", json={"augmentation": {}}).json()["augmentation"] == {}
    )


def test_another_variation_can_be_tried_without_storing_it(client, clips):
    url = f"/clips/{clips['good']}/augmented"
    plain, _ = heard(client.get(url))
    softer = {"gain": {"probability": 1, "min_db": -20, "max_db": -20}}
    tried, _ = heard(client.post(url, json={"augmentation": softer}))
    assert np.abs(tried).max() == pytest.approx(np.abs(plain).max() / 10, rel=0.02)
    assert np.array_equal(heard(client.get(url))[0], plain)
    for wrong in ({}, {"augmentation": {"noise": {"probability": 9}}}, {"augmentation": {}, "seed": -1}):
        assert client.post(url, json=wrong).status_code == 422
    assert client.get(url, params={"seed": "x"}).status_code == 422


def test_what_cannot_be_read_says_so_and_strangers_get_404(client, api, clips, stranger):
    bad = client.get(f"/clips/{clips['bad']}/spectrogram")
    assert (bad.status_code, bad.json()["detail"]) == (422, "This recording can't be read any more.")
    urls = [
        f"/clips/{clips[name]}/{what}"
        for name in ("good", "rejected")
        for what in ("spectrogram", "augmented")
    ]
    assert [client.get(url).status_code for url in urls] == [200, 200, 404, 404]
    api.dependency_overrides[current_user] = lambda: stranger
    assert [client.get(url).status_code for url in urls] == [404] * 4
    assert client.post(urls[1], json={"augmentation": {}}).status_code == 404
    assert client.get("/clips/clip_none/spectrogram").status_code == 404
