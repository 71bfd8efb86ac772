"""Ids, settings, redaction."""

from qlora_studio.core.ids import is_id, new_id
from qlora_studio.core.logging import redact
from qlora_studio.core.settings import Settings


def test_ids_are_short_prefixed_and_recognised():
    one, two = new_id("job"), new_id("job")
    assert one != two
    assert is_id(one, "job")
    assert not is_id(one, "ds")
    assert not is_id("job_../../etc/passwd", "job")


def test_secrets_are_redacted_from_log_lines():
    line = redact("token=abc123 Authorization: Bearer xyz hf_abcdefghijklmnopqrstu kept")
    assert "abc123" not in line
    assert "xyz" not in line
    assert "hf_abc" not in line
    assert line.endswith("kept")


def test_roots_are_separated_by_colons_and_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_MODEL_ROOTS", f"{tmp_path}/a/../b:{tmp_path}/c:")
    assert Settings().model_root_paths == [tmp_path / "b", tmp_path / "c"]
