"""`qlora-studio feedback …`: rate takes, and see what the ratings say."""

from typing import Annotated

import typer

from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    acting,
    command,
    print_json,
    print_line,
    print_table,
)
from qlora_studio.services import ratings
from qlora_studio.services.rating_schemas import OVERALL, RatingPublic, RatingPut

app = typer.Typer(help="Ratings of takes: rate, show, stats, readiness.", no_args_is_help=True)
OfModel = Annotated[str, typer.Option("--model", help="Only takes of this model.")]


@app.command("rate")
@command
def rate(
    take_id: str,
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
def show(take_id: str, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show what was said of a take."""
    with acting(user) as (session, actor):
        found = ratings.list_of_take(session, actor=actor, take_id=take_id)
    _print([RatingPublic.of(rating) for rating in found], as_json=as_json)


@app.command("remove")
@command
def remove(
    take_id: str,
    criterion: Annotated[str, typer.Option(help="What was judged.")] = OVERALL,
    user: UserName = "",
) -> None:
    """Take your own rating of a take back."""
    with acting(user, writes=True) as (session, actor):
        ratings.take_back(session, actor=actor, take_id=take_id, criterion=criterion)
    print_line(f"{take_id}: your rating is gone.")


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


@app.command("readiness")
@command
def readiness(
    model: OfModel = "",
    min_stars: Annotated[float | None, typer.Option(help="Of a take that counts.", min=1, max=5)] = None,
    n_needed: Annotated[int | None, typer.Option("--takes", help="So many are enough.", min=1)] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Say whether there is enough to train on."""
    with acting(user) as (session, actor):
        found = ratings.get_readiness(
            session, actor=actor, model_id=model or None, min_stars=min_stars, n_needed=n_needed
        )
    if as_json:
        print_json(found)
    else:
        print_line(found.message)


def _print(found: list[RatingPublic], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [(r.criterion, r.stars, ", ".join(r.tags), r.note) for r in found]
    print_table(("Criterion", "Stars", "Tags", "Note"), rows, empty="No ratings yet.")
