"""Mail through a real SMTP server on loopback."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
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
from scripts.ports import free_port


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


class Scripted:
    """A mail server that answers word for word; `answers` are by the command's first word."""

    def __init__(self, answers: dict[str, str] | None = None) -> None:
        self.answers = {"EHLO": "250 mail.example", "DATA": "354 go on", ".": "250 OK"} | (answers or {})
        self.heard: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        line, _ = self._listener.accept()
        with line, line.makefile("rb") as heard, contextlib.suppress(OSError):
            line.sendall(b"220 mail.example\r\n")
            is_data = False
            for raw in heard:
                word = raw.decode().strip().partition(" ")[0].upper()
                if is_data and word != ".":
                    continue
                self.heard.append(word)
                answer = self.answers.get(word, "250 OK")
                if answer == "hang up":
                    return
                end = time.monotonic() + 10
                while answer == "trickle" and time.monotonic() < end:
                    line.sendall(b"250-wait\r\n")
                    time.sleep(0.02)
                line.sendall(answer.encode() + b"\r\n")
                is_data = word == "DATA"

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def scripted(data_folder: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def start(tls: str = "none", **answers: str) -> Scripted:
        server = Scripted({"." if word == "END" else word: answer for word, answer in answers.items()})
        made.append(server)
        values = {"HOST": "127.0.0.1", "PORT": str(server.port), "TLS": tls, "FROM": "studio@example.org"}
        for name, value in values.items():
            monkeypatch.setenv(f"QLORA_STUDIO_SMTP_{name}", value)
        get_settings.cache_clear()
        return server

    yield start
    for server in made:
        server.close()


@pytest.mark.parametrize("goodbye", ["hang up", "500 what?", "421 closing"])
def test_a_mail_that_was_taken_is_delivered_however_the_server_parts(
    scripted: Callable[..., Scripted], goodbye: str
) -> None:
    server = scripted(QUIT=goodbye)
    send()
    assert server.heard[-2:] == [".", "QUIT"]


def test_a_server_that_trickles_for_ever_is_cut_off(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "TOTAL_S", 0.2)
    scripted(END="trickle")
    began = time.monotonic()
    with pytest.raises(NotDelivered, match="too long") as raised:
        send()
    assert time.monotonic() - began < 5
    assert not raised.value.is_final


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"TLS": "starttls"}, "offers no encryption"),
        ({"USER": "studio", "PASSWORD": "right"}, "no way to sign in"),
        ({"FROM": "Zoë <zoë@example.org>"}, "QLORA_STUDIO_SMTP_FROM"),
    ],
)
def test_what_the_server_does_not_offer_is_named(
    scripted: Callable[..., Scripted],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    sentence: str,
) -> None:
    scripted()
    for name, value in settings.items():
        monkeypatch.setenv(f"QLORA_STUDIO_SMTP_{name}", value)
    get_settings.cache_clear()
    with pytest.raises(NotDelivered, match=sentence) as raised:
        send()
    assert not raised.value.is_final


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
