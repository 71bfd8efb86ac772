"""Short prefixed ids: `ds_`, `clip_`, `mod_`, `job_`, `ada_`, `usr_`."""

import re
import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to misread
_ID = re.compile(r"[a-z]{2,5}_[0-9a-hjkmnp-tv-z]{12}")


def new_id(prefix: str) -> str:
    """Return a fresh id such as `job_4fz0m2k8c1qa`: 60 random bits after the prefix."""
    return f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(12))


def is_id(value: str, prefix: str) -> bool:
    """Whether `value` has the form of an id with this prefix (it need not exist)."""
    return bool(_ID.fullmatch(value)) and value.startswith(f"{prefix}_")
