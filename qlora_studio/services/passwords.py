"""Passwords: the rules a new one must meet, argon2id hashes, and a check that costs the same for nobody."""

import hashlib
import threading
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH = 10
MAX_LENGTH = 256
_COMMON = frozenset(
    """
    1234567890 0123456789 0987654321 1q2w3e4r5t 1q2w3e4r5t6y password12 password123 password1234
    passwordpassword qwertyuiop qwerty12345 qwerty123456 iloveyou12 iloveyou123 letmein123 letmeinnow
    welcome123 welcome1234 adminadmin admin12345 administrator changeme123 abcdefghij abcd123456 abc1234567
    sunshine123 princess123 football123 baseball123 trustno1trustno1 monkey12345 dragon12345 superman123
    zaq12wsxcde correcthorsebatterystaple
    """.split()
)
# RFC 9106's second recommended choice. Each hash takes 64 MiB, so only a few are computed at once.
_hasher = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4)
_slots = threading.BoundedSemaphore(4)


def find_weakness(password: str, *, username: str = "", email: str = "") -> str | None:
    """Return the sentence of the first rule that `password` breaks, or None."""
    lowered = password.casefold()
    if len(password) < MIN_LENGTH:
        return f"Use at least {MIN_LENGTH} characters."
    if len(password) > MAX_LENGTH:
        return f"Use at most {MAX_LENGTH} characters."
    if lowered in _COMMON:
        return "This is one of the most used passwords. Choose another."
    if len(set(lowered)) < 5:
        return "Use at least five different characters."
    for name in (username.casefold(), email.casefold().partition("@")[0]):
        if len(name) >= 3 and name in lowered:
            return "Leave your name and e-mail address out of the password."
    return None


def hash_password(password: str) -> str:
    """Return an argon2id hash with its own salt."""
    with _slots:
        return _hasher.hash(password)


def verify_password(password: str, stored: str | None) -> bool:
    """Whether `password` matches `stored`. None (no account) and no password cost the same."""
    usable = stored if stored and stored.startswith("$argon2") else None
    with _slots:
        try:
            return _hasher.verify(usable or _nobody_hash(), password) and usable is not None
        except (VerificationError, InvalidHashError):
            return False


def token_hash(token: str) -> str:
    """Return what the database keeps of a token, which is random: its SHA-256 in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


@lru_cache(maxsize=1)
def _nobody_hash() -> str:
    return _hasher.hash("nobody has this password")
