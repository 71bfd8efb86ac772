"""The one place that asks what time it is, so that tests can move it."""

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the current time as an aware UTC datetime. It follows `time.time`, which tests move."""
    return datetime.fromtimestamp(time.time(), UTC)
