"""What a server does as it starts: look after jobs first, then go on with what an earlier server left."""

import os

from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db import migrations
from qlora_studio.jobs import supervisor
from qlora_studio.services import (
    adapters,
    datasets,
    dictating,
    generations,
    launches,
    listening_making,
    making,
    model_intake,
    pushes,
    rehearsals,
)
from qlora_studio.storage import holding

_WAIT_S = 3.0


def begin() -> None:
    """Bring the database up to date, supervise jobs, and take up everything that was under way.

    A job that runs is shown live again at once; downloads and sweeps can wait a moment for it.
    """
    _hold_the_folder()
    migrations.upgrade()
    supervisor.start()
    with db.write() as session:
        datasets.recover(session)
    model_intake.recover()
    adapters.sweep_leftovers()
    launches.sweep_leftovers()
    rehearsals.sweep_leftovers()
    pushes.recover()
    making.recover()
    dictating.take_up()
    listening_making.recover()
    generations.recover()


def _hold_the_folder() -> None:
    """Have no second server on the data folder, however this one was started.

    Web workers behind Redis are one server. One that reloads itself may meet the end of the one before.

    Raises:
        HeldByAnother: another server holds it.
    """
    if not os.environ.get("REFLEX_REDIS_URL"):
        settings = get_settings()
        holding.hold(settings.data_path, port=settings.port, wait_s=_WAIT_S)
