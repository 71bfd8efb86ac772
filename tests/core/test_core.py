"""Ids, settings, redaction."""

import time

import pytest

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


@pytest.mark.parametrize(
    "line",
    [
        "AWS_SECRET_ACCESS_KEY=top-secret",
        "aws_secret_access_key = top-secret",
        "AWS_ACCESS_KEY_ID: top-secret",
        "found AKIATOPSECRET1234567 in the environment".replace("TOPSECRET", "0TOPSECRE"),
        "{'client_secret': 'top-secret'}",
        '{"private_key": "-----BEGIN PRIVATE KEY-----\\ntop-secret\\n-----END PRIVATE KEY-----\\n"}',
        "-----BEGIN RSA PRIVATE KEY-----\ntop-secret\n-----END RSA PRIVATE KEY-----",
        "QLORA_STUDIO_SMTP_PASSWORD=top-secret",
        "mysql_passwd=top-secret",
        "Authorization: Basic top-secret",
        "Proxy-Authorization: Digest top-secret",
        "Set-Cookie: studio_session_3000=top-secret; Path=/",
        "GET https://lab.s3.amazonaws.com/a.wav?X-Amz-Signature=top-secret&x=1",
        "postgresql://studio:top-secret@db.example/studio",
        "--password top-secret",
        "--token=top-secret",
        "accessToken: top-secret",
        "made qls_topsecret0123456789-abc",
        "FSSPEC_S3_KEY=top-secret",
    ],
)
def test_every_kind_of_secret_is_redacted(line):
    shown = redact(f"before {line} ")
    assert "secret" not in shown.lower().replace("secret_access_key", "").replace("client_secret", "")
    assert "TOPSECRE" not in shown
    assert shown.startswith("before ")
    assert "[redacted]" in shown


def test_a_line_made_to_be_slow_is_redacted_quickly():
    begun = time.process_time()
    for piece in ("a_", "token ", "a-", "--a-", "://", "token_", "-----BEGIN PRIVATE KEY-----", "a:a"):
        redact(piece * (8000 // len(piece)))
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "line",
    [
        "tokens: 1500, tokens_per_s=12.5",
        "2,000 tokens of the table; key_proj, keys=3, monkey: 1",
        "loss=0.25 learning_rate=0.0005 at https://example.org/a?b=c",
        "the password is wrong",
        "Tokenizer: WhisperTokenizer",
    ],
)
def test_what_is_no_secret_stays(line):
    assert redact(line) == line


def test_roots_are_separated_by_colons_and_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("QLORA_STUDIO_MODEL_ROOTS", f"{tmp_path}/a/../b:{tmp_path}/c:")
    assert Settings().model_root_paths == [tmp_path / "b", tmp_path / "c"]
