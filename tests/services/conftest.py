"""A dataset and a model of `user`, and jobs on them."""

import pytest

from qlora_studio.services import jobs
from tests.jobs.workbench import make_dataset, make_model, make_spec
from tests.services.backup_world import back_up, lived_in, restore

__all__ = ["back_up", "lived_in", "restore"]  # fixtures, too


@pytest.fixture
def dataset(session, user):
    return make_dataset(session, user)


@pytest.fixture
def model(session, user):
    return make_model(session, user)


@pytest.fixture
def submit(session, user, dataset, model):
    def run(launch_key=None, **changes):
        spec = make_spec(dataset, model, **changes)
        job = jobs.submit(session, actor=user, spec=spec, launch_key=launch_key)
        session.commit()
        return job

    return run
