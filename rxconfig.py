"""Reflex's configuration: what is compiled, and how the compiled pages find their server."""

import os

import reflex as rx

from qlora_studio.core.settings import get_settings
from qlora_studio.frontend import PortableBuildPlugin, tailwind_tokens

settings = get_settings()
is_dev = os.environ.get("REFLEX_ENV_MODE", "dev") == "dev"

config = rx.Config(
    app_name="qlora_studio",
    backend_host=settings.host,
    # Foreign origins are refused before the framework sees them, see api/security.py. In development the page
    # comes from another port of the same host, which the framework has to let pass.
    cors_allowed_origins=["*"] if is_dev else [],
    state_manager_mode=rx.constants.StateManagerMode.MEMORY,
    telemetry_enabled=False,
    show_built_with_reflex=False,
    default_color_mode="system",
    frontend_packages=[],
    plugins=[
        rx.plugins.RadixThemesPlugin(
            theme=rx.theme(
                accent_color="indigo",
                gray_color="slate",
                radius="medium",
                has_background=False,
                scaling="95%",
            )
        ),
        rx.plugins.TailwindV4Plugin(
            {
                "content": [
                    "./app/**/*.{js,jsx}",
                    "./components/**/*.{js,jsx}",
                    "./app_components/**/*.{js,jsx}",
                ],
                "darkMode": "class",
                "theme": {"extend": tailwind_tokens()},
                "plugins": [],
            }
        ),
        PortableBuildPlugin(),
    ],
    disable_plugins=[rx.plugins.SitemapPlugin],
)
