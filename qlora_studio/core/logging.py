"""Log lines for people, on standard error; secrets are redacted before they are written."""

import logging
import re
import sys

_NAMES = r"""token|password|passwd|secret|api[_-]?key|access[_-]?key(?:[_-]?id)?|private[_-]?key|s3[_-]key
    |signature|credentials?"""
_SECRET = re.compile(
    rf"""(?ix)
    -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----(?:.*?-----END\ [A-Z ]*PRIVATE\ KEY-----|.*)   # also one cut off
    |(?P<header>\b(?:proxy-)?authorization\b["']?\s*[:=]\s*["']?)(?:(?:bearer|basic|digest)\s+)?[^\s"',;]+
    |(?P<cookie>\b(?:set-)?cookie\b["']?\s*[:=]\s*["']?)[^\s"',;]+
    |(?P<key>(?<![a-z0-9_-])[a-z0-9_-]*?(?:{_NAMES})["']?\s*[:=]\s*["']?)(?!\[redacted|-----BEGIN)[^\s"',;&]+
    |(?P<option>--(?:[a-z0-9]+-)*(?:{_NAMES})\s+)[^\s"',;]+
    |(?P<login>\b[a-z][a-z0-9+.-]{{0,30}}://[^\s/:@]{{0,200}}:)[^\s/@]+(?=@)
    |\b(?:hf_[A-Za-z0-9]{{16,}}|qls_[\w-]{{16,}}|(?:AKIA|ASIA)[A-Z0-9]{{16}}\b)
    """,
    re.DOTALL,
)


def redact(text: str) -> str:
    """Replace what looks like a secret by `[redacted]`.

    These are values of names such as `token`, `password` and `AWS_SECRET_ACCESS_KEY`, headers that prove who
    asks, passwords in addresses, private keys, and tokens of the Hub, of Amazon and of the studio itself.
    """
    return _SECRET.sub(lambda found: (found[found.lastgroup] if found.lastgroup else "") + "[redacted]", text)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def set_up_logging(level: str = "INFO") -> None:
    """Send the project's log to standard error. Calling it twice changes nothing."""
    logger = logging.getLogger("qlora_studio")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
