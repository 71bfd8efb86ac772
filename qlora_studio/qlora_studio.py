"""The app, put together: pages, REST API, the guard of every event, and what runs beside them."""

import asyncio
import importlib
import os
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import reflex as rx
from starlette.types import ASGIApp

from qlora_studio import pages
from qlora_studio.api import Dispatch, build_api
from qlora_studio.api.floods import Turnstile
from qlora_studio.api.security import Gate
from qlora_studio.components.connection import overlay
from qlora_studio.components.shell import first_paint
from qlora_studio.core.errors import StudioError
from qlora_studio.core.logging import set_up_logging
from qlora_studio.core.settings import get_settings
from qlora_studio.jobs import supervisor
from qlora_studio.services import deliveries, dictating, making, mlflow, taking_up, trial_clips
from qlora_studio.state.auth import Guard

set_up_logging(get_settings().log_level)
for module in pkgutil.iter_modules(pages.__path__):
    importlib.import_module(f"{pages.__name__}.{module.name}")


def _assembled(framework: ASGIApp) -> ASGIApp:
    is_dev = os.environ.get("REFLEX_ENV_MODE", "dev") != "prod"
    return Gate(Turnstile(Dispatch(framework, build_api())), is_dev=is_dev)


@asynccontextmanager
async def _work_beside() -> AsyncIterator[None]:
    """Take up what an earlier server left unfinished, and look after jobs while this one lives."""

    async def sweep() -> None:
        while True:
            with suppress(OSError):
                await asyncio.to_thread(trial_clips.sweep)
            await asyncio.sleep(trial_clips.SWEEP_EVERY_S)
            with suppress(StudioError):  # the database is busy: the next time will do
                await asyncio.to_thread(making.take_up, after_s=trial_clips.SWEEP_EVERY_S)
                await asyncio.to_thread(dictating.take_up, after_s=trial_clips.SWEEP_EVERY_S)

    sender = deliveries.Sender()
    await asyncio.to_thread(taking_up.begin)
    sender.start()
    mlflow.start()
    sweeping = asyncio.create_task(sweep())
    yield
    sweeping.cancel()
    await asyncio.to_thread(sender.stop)
    await asyncio.to_thread(supervisor.stop)
    await asyncio.to_thread(mlflow.stop)


app = rx.App(
    stylesheets=["/theme.css"],
    head_components=[
        rx.el.script(src="/shell.js", defer=True),
        rx.el.script(src="/auth.js", defer=True),
        rx.el.link(rel="icon", href="/favicon.svg", type="image/svg+xml"),
    ],
    html_lang="en",
    hydrate_fallback=first_paint,
    toaster=rx.toast.provider(position="bottom-right", rich_colors=True, close_button=True),
    api_transformer=_assembled,
)
app.app_wraps[5, "Overlay"] = overlay
app.add_middleware(Guard())
app.register_lifespan_task(_work_beside)
