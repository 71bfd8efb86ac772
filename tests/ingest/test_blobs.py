"""Originals under their hash: made durable together, and an error of the disk is not swallowed."""

import hashlib
import os

import pytest

from qlora_studio.ingest import blobs
from qlora_studio.storage import atomic


def kept(data_folder, n_files: int) -> list[str]:
    hashes = []
    for number in range(n_files):
        content = b"%d" % number
        path = data_folder / f"{number}"
        path.write_bytes(content)
        hashes.append(hashlib.sha256(content).hexdigest())
        blobs.keep(path, hashes[-1])
    return hashes


def test_few_are_synced_one_by_one_and_many_at_once(data_folder, monkeypatch):
    hashes = kept(data_folder, blobs._MANY + 1)
    synced, real = [], atomic.sync_file_system
    monkeypatch.setattr(atomic, "sync_file_system", lambda path: synced.append(path) or real(path))
    blobs.make_durable(hashes[:5])
    assert synced == []
    blobs.make_durable(hashes)
    assert synced == [data_folder.resolve() / "blobs"]


def test_without_syncfs_each_file_is_synced(data_folder, monkeypatch):
    hashes, synced = kept(data_folder, blobs._MANY + 1), []
    monkeypatch.setattr(atomic, "sync_file_system", lambda _: False)
    monkeypatch.setattr(os, "fsync", synced.append)
    blobs.make_durable(hashes)
    assert len(synced) >= len(hashes)


@pytest.mark.parametrize("n_files", [1, 65])
def test_a_disk_that_fails_is_an_error(data_folder, monkeypatch, n_files):
    hashes = kept(data_folder, n_files)

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(atomic, "sync_file_system", broken)
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        blobs.make_durable(hashes)
