"""`qlora-studio feedback …`: rate takes, see what the ratings say, make datasets of them and update these."""

from typing import Annotated, Any

import typer
from pydantic import ValidationError

from qlora_studio.commands.completing import DatasetId, TakeId
from qlora_studio.commands.console import (
    FAILED,
    JsonFlag,
    UserName,
    acting,
    command,
    end,
    find_actor,
    print_json,
    print_line,
    print_table,
    say,
    tell,
)
from qlora_studio.commands.datasets import public, wait_for
from qlora_studio.contracts.enums import DatasetStatus
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import updating
from qlora_studio.services import (
    datasets,
    feedback_days,
    feedback_rows,
    feedback_rules,
    feedback_updates,
    ratings,
)
from qlora_studio.services.dataset_sources import DatasetSource
from qlora_studio.services.datasets import DatasetCreate
from qlora_studio.services.feedback_filter import FeedbackFilter
from qlora_studio.services.rating_schemas import OVERALL, RatingPublic, RatingPut, ReadinessRulePut

app = typer.Typer(help="Rate takes; make and update datasets of them.", no_args_is_help=True)
OfModel = Annotated[str, typer.Option("--model", help="Only takes of this model.")]


@app.command("rate")
@command
def rate(
    take_id: TakeId,
    stars: Annotated[int, typer.Argument(help="1 to 5.")],
    *,
    criterion: Annotated[str, typer.Option(help="What is judged, in a word or two.")] = OVERALL,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find it by; more than once.")] = None,
    note: Annotated[str, typer.Option(help="What else there is to say.")] = "",
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Rate a take; your own rating by the same criterion is replaced."""
    form = RatingPut(criterion=criterion, stars=stars, tags=tag or [], note=note)
    with acting(user, writes=True) as (session, actor):
        found = RatingPublic.of(ratings.put(session, actor=actor, take_id=take_id, form=form))
    _print([found], as_json=as_json)


@app.command("show")
@command
def show(take_id: TakeId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show what was said of a take."""
    with acting(user) as (session, actor):
        found = ratings.list_of_take(session, actor=actor, take_id=take_id)
    _print([RatingPublic.of(rating) for rating in found], as_json=as_json)


@app.command("remove")
@command
def remove(
    take_id: TakeId,
    criterion: Annotated[str, typer.Option(help="What was judged.")] = OVERALL,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Take your own rating of a take back."""
    with acting(user, writes=True) as (session, actor):
        ratings.take_back(session, actor=actor, take_id=take_id, criterion=criterion)
    gone = {"id": take_id, "criterion": criterion, "is_deleted": True}
    tell(f"{take_id}: your rating is gone.", gone, as_json=as_json)


@app.command("stats")
@command
def stats(model: OfModel = "", user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show what all ratings say, by criterion, and the texts with the fewest."""
    with acting(user) as (session, actor):
        found = ratings.get_stats(session, actor=actor, model_id=model or None)
    if as_json:
        print_json(found)
        return
    print_line(f"{found.n_rated:,} of {found.n_takes:,} takes rated, {found.n_ratings:,} ratings")
    rows = [(c.criterion, f"{c.mean_stars:.2f}", c.n, *c.counts) for c in found.criteria]
    print_table(("Criterion", "Mean", "Ratings", "1", "2", "3", "4", "5"), rows, empty="No ratings yet.")
    prompts = [(p.prompt[:60], p.model_id, p.n_takes, p.n_rated) for p in found.prompts]
    print_table(("Text", "Model", "Takes", "Rated"), prompts, empty="No takes yet.")


@app.command("dataset")
@command
def dataset(
    name: Annotated[str, typer.Argument(help="The dataset's name.")] = "From feedback",
    *,
    pairs_from: Annotated[
        str, typer.Option("--pairs", help="Pairs of takes, from “votes” or “ratings”, instead of takes.")
    ] = "",
    min_stars: Annotated[float | None, typer.Option(help="Of a take that goes in; 4 by default.")] = None,
    min_gap: Annotated[float | None, typer.Option(help="Between two takes of a pair from ratings.")] = None,
    over: Annotated[str, typer.Option(help="A take's score: mean or median of its ratings.")] = "mean",
    criterion: Annotated[str, typer.Option(help="Only ratings by this.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Only ratings with it; more than once.")] = None,
    rater: Annotated[str, typer.Option(help="Only ratings and votes of this person, by id.")] = "",
    model: OfModel = "",
    adapter: Annotated[str, typer.Option(help="Only takes of this adapter; “none”: of no adapter.")] = "",
    since: Annotated[str, typer.Option(help="Only ratings and votes from this day on.")] = "",
    until: Annotated[str, typer.Option(help="Only ratings and votes up to this day.")] = "",
    preview: Annotated[bool, typer.Option("--preview", help="Only count what would go in.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a dataset of the takes that were rated well, or of pairs of which one is better."""
    given = {
        "target": "pairs" if pairs_from else "", "pairs_from": pairs_from, "min_stars": min_stars,
        "min_gap": min_gap, "over": over, "criterion": criterion, "tags": tag, "rater_id": rater,
        "model_id": model, "adapter_id": adapter, "since": since, "until": until,
    }  # fmt: skip
    wanted = _read_filter({key: value for key, value in given.items() if value})
    if preview:
        with acting(user) as (session, actor):
            found = feedback_rows.preview(session, actor=actor, wanted=wanted)
        if as_json:
            print_json(found)
        else:
            print_line(f"{found.n_rows:,} rows of {found.n_takes:,} takes, {found.n_prompts:,} texts")
        return
    form = DatasetCreate(name=name, source=DatasetSource(kind="feedback", filter=wanted))
    actor = find_actor(user)
    with db.write() as session:
        made = datasets.create(session, actor=actor, form=form)
    _print_dataset(wait_for(actor, made.id), as_json=as_json)


@app.command("update")
@command
def update(
    dataset_id: DatasetId,
    *,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what would come and go.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Bring a dataset from feedback up to date with its own filter, as its next version."""
    with acting(user) as (session, actor):
        found = feedback_updates.preview(session, actor=actor, dataset_id=dataset_id)
    if preview and as_json:
        print_json(found)
    elif not as_json:
        print_line(found.message)
    if preview or (found.is_up_to_date and not as_json):
        return
    actor = find_actor(user)
    with db.write() as session:
        feedback_updates.start(session, actor=actor, dataset_id=dataset_id)
    _print_dataset(wait_for(actor, dataset_id), as_json=as_json)


@app.command("readiness")
@command
def readiness(
    *,
    model: OfModel = "",
    min_stars: Annotated[float | None, typer.Option(help="Of a take that counts.", min=1, max=5)] = None,
    n_needed: Annotated[int | None, typer.Option("--takes", help="So many are enough.", min=1)] = None,
    criterion: Annotated[str | None, typer.Option(help="Only ratings by this; “” for all.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Say whether there is enough to train on, by your rule or another one."""
    rule = {"min_stars": min_stars, "n_needed": n_needed, "criterion": criterion}
    with acting(user) as (session, actor):
        found = ratings.get_readiness(session, actor=actor, model_id=model or None, **rule)
    if as_json:
        print_json(found)
    else:
        print_line(found.message)


@app.command("rule")
@command
def rule(
    *,
    min_stars: Annotated[float | None, typer.Option(help="Of a take that counts.", min=1, max=5)] = None,
    n_needed: Annotated[int | None, typer.Option("--takes", help="So many are enough.", min=1)] = None,
    criterion: Annotated[str | None, typer.Option(help="Only ratings by this; “” for all.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Go by the server's rule again.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show when you have enough to train on; with options, change it."""
    changes = {"min_stars": min_stars, "n_needed": n_needed, "criterion": criterion}
    changes = {name: value for name, value in changes.items() if value is not None}
    with acting(user, writes=bool(changes or forget)) as (session, actor):
        if forget:
            feedback_rules.forget_rule(session, actor=actor)
        elif changes:
            now = feedback_rules.get_rule(session, actor=actor).model_dump(exclude={"is_own"})
            changes["criterion"] = changes.get("criterion", now["criterion"]) or None
            form = ReadinessRulePut.model_validate(now | changes)
            feedback_rules.put_rule(session, actor=actor, form=form)
        session.flush()
        found = feedback_rules.get_rule(session, actor=actor)
    if as_json:
        print_json(found)
        return
    by = f" by {found.criterion}" if found.criterion else ""
    whose = "your own rule" if found.is_own else "the server's rule"
    print_line(f"{found.n_needed:,} takes rated {found.min_stars:g} or more{by} are enough ({whose}).")


@app.command("days")
@command
def days(
    *,
    n_days: Annotated[int, typer.Option("--days", help="So many, up to today.", min=1, max=366)] = 30,
    model: OfModel = "",
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show how many ratings and votes came on each day (UTC's)."""
    with acting(user) as (session, actor):
        found = feedback_days.list_days(session, actor=actor, n_days=n_days, model_id=model or None)
    if as_json:
        print_json(found)
        return
    rows = [(day.day, day.n_ratings, day.n_votes) for day in found if day.n_ratings or day.n_votes]
    print_table(("Day", "Ratings", "Votes"), rows, empty="No ratings and no votes.")


def _print_dataset(made: Dataset, *, as_json: bool) -> None:
    error = made.error or made.source.get(updating.FAILED)
    if as_json:
        print_json(public(made))
    elif made.status == DatasetStatus.READY and not error:
        print_line(f"{made.id}  {made.name}: {made.n_clips:,} takes, ready")
    if made.status != DatasetStatus.READY or error:
        say(f"error: {error or made.status.value}")
        end(FAILED)


def _read_filter(given: dict[str, Any]) -> FeedbackFilter:
    try:
        return FeedbackFilter.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{where}: {first['msg']}" if where else first["msg"]) from error


def _print(found: list[RatingPublic], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [(r.criterion, r.stars, ", ".join(r.tags), r.note) for r in found]
    print_table(("Criterion", "Stars", "Tags", "Note"), rows, empty="No ratings yet.")
