"""Send one notification as an e-mail, by the SMTP server that the settings name."""

import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from email.errors import HeaderParseError, MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

from qlora_studio.core.clock import utc_now
from qlora_studio.core.settings import Settings, get_settings
from qlora_studio.services.delivery_errors import NotDelivered

TIMEOUT_S = 15.0  # for each thing that the mail server is asked
TOTAL_S = 60.0  # for the whole mail, however steadily the server trickles
_PORTS = {"starttls": 587, "ssl": 465, "none": 25}


def is_configured() -> bool:
    """Whether this server can send e-mail at all: it knows an SMTP server and whom to write as."""
    settings = get_settings()
    return bool(settings.smtp_host.strip()) and "@" in _sender(settings)


def send(recipient: str, *, message_id: str, title: str, body: str, url: str) -> None:
    """Send a plain-text mail; returns once the SMTP server has taken it.

    Args:
        message_id: the same for each try, so that mail programs can tell a repetition.
        title: the subject; it can't bring in other headers, whatever it holds.
        url: the page that shows more.

    Raises:
        NotDelivered: it wasn't taken; the text says why.
    """
    settings = get_settings()
    if not is_configured():
        raise NotDelivered("This server can't send e-mail: no SMTP server is set up.")
    try:
        mail = write(settings, recipient, message_id=message_id, title=title, body=body, url=url)
    except (HeaderParseError, MessageError, ValueError, IndexError) as error:  # what the parsers raise
        raise NotDelivered("The mail can't be addressed that way.", is_final=True) from error
    try:
        _hand_over(settings, mail)
    except smtplib.SMTPAuthenticationError as error:
        raise NotDelivered("The mail server doesn't take the studio's name and password.") from error
    except smtplib.SMTPRecipientsRefused as error:
        is_final = all(code >= 500 for code, _ in error.recipients.values())
        text = f"The mail server doesn't take mail to {recipient}."
        raise NotDelivered(text, is_final=is_final) from error
    except smtplib.SMTPResponseException as error:
        is_final = 500 <= error.smtp_code < 600
        raise NotDelivered(f"The mail server refused it ({error.smtp_code}).", is_final=is_final) from error
    except ssl.SSLError as error:
        raise NotDelivered("The mail server's certificate or encryption isn't right.") from error
    except (smtplib.SMTPException, OSError) as error:
        raise NotDelivered("The mail server can't be reached, broke off, or took too long.") from error


def _sender(settings: Settings) -> str:
    return settings.smtp_from.strip() or settings.smtp_user.strip()


def write(
    settings: Settings, recipient: str, *, message_id: str, title: str, body: str, url: str
) -> EmailMessage:
    """Return the mail. Line breaks in what becomes a header are gone before it does."""
    mail = EmailMessage()
    sender = _sender(settings)
    mail["From"] = sender if "<" in sender else Address("QLoRA Studio", addr_spec=sender)
    mail["To"] = Address(addr_spec=recipient)
    mail["Subject"] = " ".join(title.split())[:200]
    mail["Date"] = format_datetime(utc_now())
    mail["Message-ID"] = f"<{message_id}@{urlsplit(settings.base_url).hostname or 'localhost'}>"
    mail["Auto-Submitted"] = "auto-generated"  # so that out-of-office programs stay silent
    settings_page = f"{settings.base_url}/settings/notifications"
    footer = f"-- \nQLoRA Studio writes this since you asked it to. Change that: {settings_page}"
    mail.set_content("\n\n".join(part for part in (body, url, footer) if part) + "\n")
    return mail


def _hand_over(settings: Settings, mail: EmailMessage) -> None:
    host, kind = settings.smtp_host.strip(), settings.smtp_tls
    port = settings.smtp_port or _PORTS[kind]
    context = ssl.create_default_context()
    server = (
        _BoundedSsl(host, port, timeout=TIMEOUT_S, context=context)
        if kind == "ssl"
        else _Bounded(host, port, timeout=TIMEOUT_S)
    )
    try:
        if kind == "starttls":
            with _offered("The mail server offers no encryption. Set QLORA_STUDIO_SMTP_TLS to ssl or none."):
                server.starttls(context=context)
        if settings.smtp_user.strip():
            with _offered("The mail server offers no way to sign in. Leave QLORA_STUDIO_SMTP_USER empty."):
                server.login(settings.smtp_user.strip(), settings.smtp_password.get_secret_value())
        with _offered("The mail server takes plain letters in QLORA_STUDIO_SMTP_FROM only."):
            server.send_message(mail)
    finally:
        with contextlib.suppress(
            smtplib.SMTPException, OSError
        ):  # however it parts, the mail is taken or not
            server.quit()
        server.close()


@contextlib.contextmanager
def _offered(sentence: str) -> Iterator[None]:
    try:
        yield
    except smtplib.SMTPNotSupportedError as error:
        raise NotDelivered(sentence) from error


class _Bounded(smtplib.SMTP):
    """A connection that is cut off after `TOTAL_S`: the timeout alone begins anew with each byte."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._is_over = threading.Event()
        threading.Thread(target=self._watch, name="mail deadline", daemon=True).start()
        try:
            super().__init__(*args, **kwargs)
        except BaseException:
            self._is_over.set()
            raise

    def close(self) -> None:
        self._is_over.set()
        super().close()

    def _watch(self) -> None:
        wait_s = TOTAL_S
        while not self._is_over.wait(wait_s):
            # A handshake may be under way on a socket that isn't `sock` yet; so it is looked again.
            # Not `sock.shutdown`: that of an encrypted one would let the other thread go on in the clear.
            with contextlib.suppress(OSError, TypeError):  # TypeError: there is none yet
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # type: ignore[arg-type]
            wait_s = 1.0


class _BoundedSsl(_Bounded, smtplib.SMTP_SSL):
    pass
