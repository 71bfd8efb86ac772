"""What is sealed opens here and nowhere else."""

import stat
import threading

import pytest

from qlora_studio.core import secrets
from qlora_studio.core.settings import get_settings


def test_what_is_sealed_opens_again_and_does_not_show(data_folder):
    sealed = secrets.seal("hf_a_secret ä")
    assert secrets.unseal(sealed) == "hf_a_secret ä"
    assert "secret" not in sealed
    assert secrets.seal("hf_a_secret ä") != sealed
    key = data_folder / "secret.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [p.name for p in data_folder.glob(".secret*")] == []


def test_another_folder_opens_nothing(data_folder, tmp_path, monkeypatch):
    sealed = secrets.seal("x")
    monkeypatch.setenv("QLORA_STUDIO_DATA", str(tmp_path / "other"))
    get_settings.cache_clear()
    with pytest.raises(secrets.SecretLost, match="add it again"):
        secrets.unseal(sealed)
    with pytest.raises(secrets.SecretLost):
        secrets.unseal("not sealed at all")


def test_a_damaged_key_is_said_so_and_not_replaced(data_folder):
    (data_folder / "secret.key").write_bytes(b"short")
    with pytest.raises(secrets.SecretLost, match="damaged"):
        secrets.seal("x")
    assert (data_folder / "secret.key").read_bytes() == b"short"


def test_two_that_begin_at_once_use_one_key(data_folder):
    sealed: list[str] = []
    threads = [threading.Thread(target=lambda: sealed.append(secrets.seal("x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [secrets.unseal(one) for one in sealed] == ["x"] * 8
