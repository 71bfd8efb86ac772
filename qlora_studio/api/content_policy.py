"""The content security policy of the compiled pages.

The few inline scripts that the build writes into its pages are allowed by their hashes, so that an injected
one is not. `unsafe-eval` has to stay: the framework evaluates the calls (toasts, focus) that handlers return.
"""

import base64
import hashlib
import re
from pathlib import Path

_INLINE = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)


def policy_for_build(*, is_dev: bool, static_path: Path) -> str:
    """Return the policy for the pages under `static_path`; the dev server's is looser."""
    if is_dev:
        script = "script-src 'self' 'unsafe-inline' 'unsafe-eval'"
    else:
        script = " ".join(["script-src 'self' 'unsafe-eval'", *sorted(inline_hashes(static_path))])
    return "; ".join(
        [
            "default-src 'self'",
            script,
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob:",
            "font-src 'self'",
            "connect-src 'self'" + (" ws: http:" if is_dev else ""),
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    )


def inline_hashes(static_path: Path) -> set[str]:
    """Return the CSP sources (`'sha256-…'`) of every inline script in the pages under `static_path`."""
    found: set[str] = set()
    for page in static_path.rglob("*.html"):
        for script in _INLINE.findall(page.read_text()):
            digest = hashlib.sha256(script.encode()).digest()
            found.add(f"'sha256-{base64.b64encode(digest).decode()}'")
    return found
