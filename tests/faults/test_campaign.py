"""Faults drawn at random while people work, and a server that is killed again and again."""

import os
import time

import pytest

from tests.faults import campaign
from tests.faults.harness import Zygote

pytestmark = pytest.mark.slow
SCHEDULES = int(os.environ.get("QLORA_STUDIO_CAMPAIGN_SCHEDULES", "25"))
ROUNDS = 200 if os.environ.get("QLORA_STUDIO_LONG_FAULTS") else 8


@pytest.fixture(scope="module")
def home(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> campaign.Home:
    return campaign.make_home(zygote, tmp_path_factory.mktemp("home"), campaign.make_things)


@pytest.mark.fault(
    "campaign",
    "servers, shims and workers killed or frozen, a second server, the database held, a full disk, a reboot "
    "at random, by a seed",
    "nothing acknowledged is lost; one worker a job; slots hold; ends stay; steps whole; checkpoints verify",
)
def test_a_campaign_of_faults_violates_nothing(home, zygote, saw):
    first = int(os.environ.get("QLORA_STUDIO_CAMPAIGN_SEED", "1"))
    outcomes = campaign.run_many(list(range(first, first + SCHEDULES)), home, zygote, at_once=6)
    bad = [f"{o.schedule}: {o.violations} (kept in {o.folder})" for o in outcomes if o.violations]
    n_jobs, n_attempts = sum(o.n_jobs for o in outcomes), sum(o.n_attempts for o in outcomes)
    saw(f"{SCHEDULES} schedules from seed {first}: {n_jobs} jobs, {n_attempts} attempts, {len(bad)} violated")
    assert not bad, "\n".join(bad)
    assert n_attempts > SCHEDULES, "people hardly worked"


@pytest.mark.fault(
    "F25",
    "kill -9 the server round after round while people work",
    "integrity and foreign keys hold; every acknowledged launch, stop, rating, deletion and upload is there",
)
def test_f25_a_server_killed_again_and_again(home, zygote, saw):
    kills = [(0.0, "kill server at work")] * ROUNDS
    schedule = campaign.Schedule(seed=25, toy_fault="", faults=kills)
    started = time.monotonic()
    outcome = campaign.run(schedule, home, zygote, n_people=4)
    assert outcome.violations == [], outcome.folder
    assert outcome.n_jobs > ROUNDS / 4, "people hardly worked"
    saw(f"{ROUNDS} kills in {time.monotonic() - started:.0f} s, {outcome.n_jobs} jobs kept")
