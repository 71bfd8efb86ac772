"""Log lines for people, on standard error; secrets are redacted before they are written."""

import logging
import re
import sys

_SECRET = re.compile(
    r"(?i)(?P<key>\b(?:[a-z_]*token|password|secret|authorization|api[_-]?key|cookie)\b[\"']?\s*[:=]\s*[\"']?)"
    r"(?P<value>(?:bearer\s+)?[^\s\"',;]+)|(?P<hf>\bhf_[A-Za-z0-9]{16,})"
)


def redact(text: str) -> str:
    """Replace what looks like a secret (`token=…`, `Authorization: …`, Hub tokens) by `[redacted]`."""
    return _SECRET.sub(lambda m: (m["key"] or "") + "[redacted]", text)


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
