"""`qlora-studio listening …`: set listening tests up, take them, and read what came of them."""

from pathlib import Path
from typing import Annotated

import typer

from qlora_studio.commands.completing import TestId
from qlora_studio.commands.console import (
    FAILED,
    JsonFlag,
    UserName,
    YesFlag,
    acting,
    command,
    confirm,
    end,
    find_actor,
    print_json,
    print_line,
    print_table,
    say,
    tell,
)
from qlora_studio.commands.following import follow
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.contracts.enums import Audience, ListeningStatus, Preference
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import (
    listening_making,
    listening_questions,
    listening_results,
    listening_tests,
)
from qlora_studio.services.listening_questions import SIDES
from qlora_studio.services.listening_schemas import (
    ContestantIn,
    ListeningTestCreate,
    ListeningTestPublic,
    RaterPublic,
    Results,
    StandingPublic,
)

app = typer.Typer(help="Listening tests: create, take, read.", no_args_is_help=True)
_LOOK_EVERY_S = 0.3


@app.command("create")
@command
def create(
    name: str,
    *,
    contestant: Annotated[
        list[str], typer.Option(help="MODEL, MODEL:ADAPTER or MODEL:ADAPTER:STRENGTH; two to eight times.")
    ],
    prompt: Annotated[list[str], typer.Option(help="A text to make sound of; once or more.")],
    seeds: Annotated[int, typer.Option(help="Takes of each contestant for each text.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the first take.")] = 0,
    seconds: Annotated[float, typer.Option(help="How long a take becomes.")] = 8.0,
    guidance: Annotated[float, typer.Option(help="How much to follow the text, 1 to 20.")] = 3.0,
    temperature: Annotated[float, typer.Option(help="How varied, 0.1 to 2.")] = 1.0,
    audience: Annotated[Audience, typer.Option(help="Who may take it.")] = Audience.EVERYONE,
    catch_every: Annotated[int, typer.Option(help="One catch pair in so many: 0, 5, 10 or 20.")] = 10,
    max_votes: Annotated[int | None, typer.Option(help="It closes with so many votes.")] = None,
    max_per_rater: Annotated[int | None, typer.Option(help="Questions of one rater.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Set a test up and make its takes here; Ctrl-C calls it off and leaves nothing behind."""
    actor = find_actor(user)
    form = ListeningTestCreate.model_validate(
        {
            "name": name, "contestants": [_contestant(text) for text in contestant], "prompts": prompt,
            "n_seeds": seeds, "seed": seed, "duration_s": seconds, "guidance": guidance,
            "temperature": temperature, "audience": audience, "catch_every": catch_every,
            "max_votes": max_votes, "max_per_rater": max_per_rater,
        }
    )  # fmt: skip
    with db.write() as session:
        test = listening_tests.create(session, actor=actor, form=form, in_background=False)
    _finish(_follow(actor, test.id, quiet=as_json), as_json=as_json)


@app.command("retry")
@command
def retry(test_id: TestId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Make the takes that are missing, after it has failed."""
    actor = find_actor(user)
    with db.write() as session:
        listening_tests.retry(session, actor=actor, test_id=test_id, in_background=False)
    _finish(_follow(actor, test_id, quiet=as_json), as_json=as_json)


@app.command("list")
@command
def list_(page: PageNumber = 1, user: UserName = "", as_json: JsonFlag = False) -> None:
    """List the tests that you own or may take, the newest first."""
    with acting(user) as (session, actor):
        rows, total = listening_tests.list_tests(session, actor=actor, page=page, page_size=PAGE_SIZE)
        found = listening_tests.to_public(session, actor=actor, tests=rows)
    cells = [(t.id, t.name, t.owner_name, t.status.value, t.n_votes, t.n_answered) for t in found]
    headings = ("ID", "Name", "Owner", "Status", "Votes", "Your answers")
    print_page(
        found, headings, cells, total=total, page=page, empty="No listening tests yet.", as_json=as_json
    )


@app.command("next")
@command
def next_(
    test_id: TestId,
    to: Annotated[Path | None, typer.Option(help="Write left.wav and right.wav into this folder.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show the question you are at; `--to` writes its two sounds."""
    with acting(user, writes=True) as (session, actor):
        asked = listening_questions.ask(session, actor=actor, test_id=test_id)
        now = asked.questions[0] if asked.questions else None
        if now is not None and to is not None:
            for side in SIDES:
                content = listening_questions.get_sound(session, actor=actor, question_id=now.id, side=side)
                _write(to / f"{side}.wav", content)
    if as_json:
        print_json(asked)
    elif now is None:
        print_line(f"Nothing is left to answer; you have answered {asked.n_answered:,}.")
    else:
        print_line(f"{now.id}: “{now.prompt}”, {asked.n_answered:,} answered")


@app.command("answer")
@command
def answer(question_id: str, verdict: Preference, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Say which side of a question is better: left, right, tie or skip."""
    with acting(user, writes=True) as (session, actor):
        listening_questions.answer(session, actor=actor, question_id=question_id, verdict=verdict)
    tell(f"{question_id}: {verdict.value}", {"id": question_id, "verdict": verdict.value}, as_json=as_json)


@app.command("results")
@command
def results(test_id: TestId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show the ranking, who can't be told apart yet, and how the raters did."""
    with acting(user) as (session, actor):
        found = listening_results.get(session, actor=actor, test_id=test_id)
    _print_results(found, as_json=as_json)


@app.command("decide")
@command
def decide(
    test_id: TestId,
    rater: Annotated[str, typer.Argument(help="The rater's name.")],
    what: Annotated[str, typer.Argument(help="leave-out, keep, or rule.")],
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Leave a rater's votes out, or keep them, or go back to the rule."""
    words = {"leave-out": True, "keep": False, "rule": None}
    if what not in words:
        raise InvalidInput("Say leave-out, keep or rule.", fields={"what": "leave-out, keep or rule"})
    with acting(user, writes=True) as (session, actor):
        raters = listening_results.get(session, actor=actor, test_id=test_id).raters
        ids = [one.rater_id for one in raters if rater in (one.name, one.rater_id)]
        listening_results.decide(
            session, actor=actor, test_id=test_id, rater_id=ids[0] if ids else "", is_left_out=words[what]
        )
        session.flush()
        found = listening_results.get(session, actor=actor, test_id=test_id)
    _print_results(found, as_json=as_json)


@app.command("close")
@command
def close(test_id: TestId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Take no further answers; the results stay."""
    with acting(user, writes=True) as (session, actor):
        listening_tests.close(session, actor=actor, test_id=test_id)
    tell(f"{test_id} is closed.", {"id": test_id, "status": "closed"}, as_json=as_json)


@app.command("delete")
@command
def delete(test_id: TestId, yes: YesFlag = False, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Delete a test with its takes, answers and votes."""
    confirm(f"Delete {test_id} with its takes, answers and votes?", yes=yes)
    with acting(user, writes=True) as (session, actor):
        listening_tests.remove(session, actor=actor, test_id=test_id)
    tell(f"{test_id} is gone.", {"id": test_id, "is_deleted": True}, as_json=as_json)


@app.command("export")
@command
def export(
    test_id: TestId,
    to: Annotated[Path, typer.Option(help="A .csv file.")],
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Write every answer into a table."""
    with acting(user) as (session, actor):
        rows = listening_results.list_answers(session, actor=actor, test_id=test_id)
    _write(to, listening_results.to_csv(rows).encode())
    tell(f"{len(rows):,} answers: {to}", {"path": str(to), "n_answers": len(rows)}, as_json=as_json)


def _contestant(text: str) -> ContestantIn:
    model, adapter, strength, *more = [*text.split(":"), "", ""]
    if len(more) > (2 if strength else 1):
        raise InvalidInput(f"“{text}” isn't MODEL, MODEL:ADAPTER or MODEL:ADAPTER:STRENGTH.")
    try:
        share = float(strength or 1)
    except ValueError as error:
        raise InvalidInput(f"“{strength}” is no strength. It is a number from 0 to 2.") from error
    return ContestantIn(model_id=model, adapter_id=adapter or None, strength=share)


def _read(actor: User, test_id: str) -> ListeningTestPublic:
    with db.read() as session:
        test = listening_tests.get_own(session, actor=actor, test_id=test_id)
        return listening_tests.to_public(session, actor=actor, tests=[test])[0]


def _follow(actor: User, test_id: str, *, quiet: bool) -> ListeningTestPublic:
    """Have the takes made here and tell how far they are; Ctrl-C calls the test off."""
    return follow(
        lambda: listening_making.run(test_id),
        read=lambda: _read(actor, test_id),
        tell=lambda found: (
            f"{found.n_takes_done} of {found.n_takes} takes",
            found.n_takes_done,
            found.n_takes,
        ),
        call_off=lambda session: listening_tests.remove(session, actor=actor, test_id=test_id),
        quiet=quiet,
    )


def _finish(found: ListeningTestPublic, *, as_json: bool) -> None:
    said = f"{found.id}: “{found.name}”, {found.status.value}, {found.n_takes_done} takes"
    print_json(found) if as_json else print_line(said)
    if found.status is ListeningStatus.FAILED:
        say(f"error: {found.error}")
        end(FAILED)


def _print_results(found: Results, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_line(found.summary)
    labels = {standing.position: standing.label for standing in found.standings}
    places = [
        (_places(s), s.label, f"{s.strength:+.2f}", f"{s.low:+.2f} to {s.high:+.2f}", s.n_votes)
        for s in found.standings
    ]
    print_table(("Place", "Contestant", "Strength", "95 %", "Votes"), places, empty="")
    pairs = [
        (labels[c.one], labels[c.other], f"{c.share:.0%}", _needed(c.votes_needed)) for c in found.comparisons
    ]
    print_table(("Better", "Than", "Share", "Votes needed"), pairs, empty="")
    alpha = found.agreement.alpha
    print_line(f"Agreement: {'not known yet' if alpha is None else f'alpha {alpha:.2f}'}")
    people = [
        (r.name, r.n_votes, _part(r.n_right, r.n_known), _part(r.n_same, r.n_repeats), _counts(r))
        for r in found.raters
    ]
    print_table(("Rater", "Votes", "Catch pairs", "Repeats", "Counts"), people, empty="Nobody yet.")


def _places(standing: StandingPublic) -> str:
    first, last = standing.first_place, standing.last_place
    return str(first) if first == last else f"{first}-{last}"


def _needed(votes: int | None) -> str:
    if votes is None:
        return "cannot be told"
    return f"about {votes:,}" if votes else "told apart"


def _part(n: int, of: int) -> str:
    return f"{n} of {of}"


def _counts(rater: RaterPublic) -> str:
    return "left out" if rater.is_left_out else "yes"


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise InvalidInput(f"{path} can't be written ({error.strerror}).") from error
