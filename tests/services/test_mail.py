"""Mail through a real SMTP server on loopback."""

import socket
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from qlora_studio.core.settings import get_settings
from qlora_studio.services import mail
from qlora_studio.services.delivery_errors import NotDelivered


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Post:
    """Takes mail in, or answers as it is told."""

    def __init__(self) -> None:
        self.taken: list[tuple[list[str], Message]] = []
        self.answer = "250 OK"
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            content = envelope.original_content or b""
            self.taken.append((envelope.rcpt_tos, message_from_bytes(content, policy=default)))
        return self.answer

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _kind: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)


@pytest.fixture
def post(data_folder: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    kept = Post()
    port = free_port()
    controller = Controller(
        kept, hostname="127.0.0.1", port=port, authenticator=kept.authenticate, auth_require_tls=False
    )
    controller.start()
    for name, value in (
        ("HOST", "127.0.0.1"),
        ("PORT", str(port)),
        ("TLS", "none"),
        ("FROM", "studio@example.org"),
    ):
        monkeypatch.setenv(f"QLORA_STUDIO_SMTP_{name}", value)
    get_settings.cache_clear()
    yield kept
    controller.stop()


def send(
    recipient: str = "ada@example.org", title: str = "“first” has finished", body: str = "WER 40 %."
) -> None:
    mail.send(
        recipient, message_id="ntf_1", title=title, body=body, url="http://localhost:3000/training/job_1"
    )


def test_a_mail_arrives_as_it_was_meant(post: Post) -> None:
    send()
    ((recipients, mail_),) = post.taken
    assert recipients == ["ada@example.org"]
    assert (mail_["To"], mail_["Subject"]) == ("ada@example.org", "“first” has finished")
    assert mail_["From"] == "QLoRA Studio <studio@example.org>"
    assert mail_["Message-ID"] == "<ntf_1@localhost>"
    assert mail_["Auto-Submitted"] == "auto-generated"
    text = mail_.get_content().replace("\r\n", "\n")
    assert text.startswith("WER 40 %.\n\nhttp://localhost:3000/training/job_1\n")
    assert "/settings/notifications" in text


def test_a_title_brings_in_no_header(post: Post) -> None:
    for bad in ("x\r\nBcc: all@example.org", "x\nBcc: all@example.org", "x\r\n\r\nBody", "x\x00y"):
        post.taken.clear()
        send(title=bad)
        ((recipients, mail_),) = post.taken
        assert recipients == ["ada@example.org"]
        assert mail_["Bcc"] is None
        assert mail_.get_content().startswith("WER 40 %.")


def test_an_address_brings_in_no_other(post: Post) -> None:
    for bad in ("ada@example.org\r\nBcc: all@example.org", "ada", "a@b, c@d", "", "a@b>\r\nRCPT TO:<x@y"):
        with pytest.raises(NotDelivered) as raised:
            send(recipient=bad)
        assert raised.value.is_final, bad
    assert post.taken == []


def test_name_and_password_are_given(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("USER", "studio"), ("PASSWORD", "right")):
        monkeypatch.setenv(f"QLORA_STUDIO_SMTP_{name}", value)
    get_settings.cache_clear()
    send()
    assert post.logins == [(b"studio", b"right")]
    assert "right" not in repr(get_settings())
    monkeypatch.setenv("QLORA_STUDIO_SMTP_PASSWORD", "wrong")
    get_settings.cache_clear()
    with pytest.raises(NotDelivered, match="name and password"):
        send()


@pytest.mark.parametrize(("answer", "is_final"), [("451 later", False), ("552 never", True)])
def test_a_refusal_says_whether_to_try_again(post: Post, answer: str, is_final: bool) -> None:
    post.answer = answer
    with pytest.raises(NotDelivered, match=answer[:3]) as raised:
        send()
    assert raised.value.is_final is is_final


def test_encryption_that_is_asked_for_is_not_done_without(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QLORA_STUDIO_SMTP_TLS", "starttls")
    get_settings.cache_clear()
    with pytest.raises(NotDelivered, match="encryption"):
        send()
    assert post.taken == []


def test_without_a_server_it_says_so(data_folder: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not mail.is_configured()
    with pytest.raises(NotDelivered, match="no SMTP server"):
        send()
    monkeypatch.setenv("QLORA_STUDIO_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("QLORA_STUDIO_SMTP_PORT", "1")
    monkeypatch.setenv("QLORA_STUDIO_SMTP_FROM", "studio@example.org")
    get_settings.cache_clear()
    assert mail.is_configured()
    with pytest.raises(NotDelivered, match="can't be reached") as raised:
        send()
    assert not raised.value.is_final
