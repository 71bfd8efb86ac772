"""A Reflex plugin that makes one build serve any host and port, and lets the dev server reach the API.

Reflex bakes the server's address into the JavaScript. Here every address is compiled as a placeholder origin
and replaced after the build by the page's own origin, so that a build is made once for a source tree, not
once for each port.
"""

import os
from pathlib import Path
from typing import Any

from reflex.plugins import Plugin

_PLACEHOLDER = "qlora-studio.invalid"
_PORTS = {"ws": 'location.origin.replace(/^http/,"ws")', "http": "location.origin"}


class PortableBuildPlugin(Plugin):
    """Compile addresses as placeholders in production, proxy `/api` in development."""

    def update_env_json(self, **context: Any) -> dict[str, Any] | None:
        """Return placeholder addresses for a production build; nothing in development."""
        if os.environ.get("REFLEX_ENV_MODE") != "prod":
            return None
        paths = {"PING": "/ping", "UPLOAD": "/_upload", "HEALTH": "/_health", "ALL_ROUTES": "/_all_routes"}
        env = {name: f"http://{_PLACEHOLDER}{path}" for name, path in paths.items()}
        return env | {
            "EVENT": f"ws://{_PLACEHOLDER}/_event",
            "AUTH_CODESPACE": f"http://{_PLACEHOLDER}/auth-codespace",
        }

    def post_build(self, **context: Any) -> None:
        """Replace the placeholder by the page's own origin in every script of the build.

        Raises:
            RuntimeError: no script held the placeholder, so the pages would look for no server.
        """
        n_replaced = 0
        for script in Path(context["static_dir"]).rglob("*.js"):
            text = script.read_text()
            if _PLACEHOLDER in text:
                script.write_text(make_portable(text))
                n_replaced += 1
        if not n_replaced:
            raise RuntimeError(
                "The compiled pages hold no server address to replace; has Reflex changed its build?"
            )

    def pre_compile(self, **context: Any) -> None:
        """In development, let Vite pass `/api` on to the back end, so that cookies share one origin."""
        if os.environ.get("REFLEX_ENV_MODE") == "prod":
            return
        context["add_modify_task"]("vite.config.js", _add_proxy)


def make_portable(script: str) -> str:
    """Turn each quoted placeholder address of `script` into an expression over `location`."""
    for scheme, origin in _PORTS.items():
        for quote in ('"', "`", "'"):
            start = f"{quote}{scheme}://{_PLACEHOLDER}"
            while (at := script.find(start)) >= 0:
                end = script.index(quote, at + len(start))
                path = script[at + len(start) : end]
                address = f'((typeof location<"u"?{origin}:"{scheme}://localhost")+"{path}")'
                script = script[:at] + address + script[end + 1 :]
    return script


def _add_proxy(vite_config: str) -> str:
    from reflex.config import get_config

    port = get_config().backend_port or 8000
    proxy = f'proxy: {{ "/api": {{ target: "http://127.0.0.1:{port}", changeOrigin: false }} }},'
    if proxy in vite_config:
        return vite_config
    return vite_config.replace("server: {", "server: {\n    " + proxy, 1)
