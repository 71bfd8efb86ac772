"""The form that sets a listening test up."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import reflex as rx
from pydantic import ValidationError
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import Role, Task
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.listening.power import votes_to_plan
from qlora_studio.services import listening_tests, offers
from qlora_studio.services.listening_schemas import MOST_CONTESTANTS, MOST_TAKES, ListeningTestCreate
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized

_SENTENCES = {
    "name": "Give it a name of at most 120 characters.",
    "prompts": "Write 1 to 50 different texts, one a line, of at most 1,000 characters.",
    "n_seeds": "1 to 8 takes of each text.",
    "seed": "The seed is a whole number from 0 to 2,147,483,647.",
    "duration_s": "More than 0 and at most 30 seconds.",
    "catch_every": "Choose one of these.",
    "max_votes": "A whole number from 1, or leave it empty.",
    "max_per_rater": "A whole number from 5, or leave it empty.",
    "contestants": "Choose two to eight different contestants, each with a strength from 0 to 2.",
}
PLAN = tuple((share, votes_to_plan(share / 100, tie_share=0.3)) for share in (60, 70, 80))


@dataclass(frozen=True)
class ContestantRow:
    """One contestant of the form: `choice` is a model's id, or that and an adapter's."""

    number: int
    choice: str = ""
    strength: str = "1"
    error: str = ""

    @property
    def has_strength(self) -> bool:
        """Only an adapter has one."""
        return "|" in self.choice


class TestFields(TypedDict, total=False):
    """What the form sends, besides the contestants."""

    name: str
    prompts: str
    n_seeds: str
    seed: str
    duration_s: str
    audience: str
    catch_every: str
    max_votes: str
    max_per_rater: str


class ListeningFormState(rx.State):
    """The page `/listening/new`."""

    is_loaded: bool = False
    is_sending: bool = False
    options: list[list[str]] = []
    rows: list[ContestantRow] = []
    prompts: str = ""
    n_seeds: str = "2"
    field_errors: dict[str, str] = {}

    @rx.var
    def takes(self) -> str:
        """How many takes it needs, in words."""
        n_texts, seeds = len(_lines(self.prompts)), _whole(self.n_seeds)
        if not n_texts or not seeds:
            return ""
        n = len(self.rows) * n_texts * seeds
        too_many = f" That is more than {MOST_TAKES}." if n > MOST_TAKES else ""
        return f"{formats.count(n, 'take')} will be made.{too_many}"

    @rx.var
    def can_add(self) -> bool:
        """Whether there may be one more contestant."""
        return len(self.rows) < MOST_CONTESTANTS

    @rx.event
    @authorized(Role.TRAINER)
    async def load(self, actor: User):
        """Start with the newest model and its newest adapter, or what the address names."""
        self.reset()
        self.options = await asyncio.to_thread(_options, actor)
        wanted = [choice for choice, _ in self.options][:2]
        self.rows = [ContestantRow(n, *([wanted[n]] if n < len(wanted) else [])) for n in range(2)]
        self.is_loaded = True

    @rx.event
    @authorized(Role.TRAINER)
    async def add(self):
        """One more contestant: the first that isn't there yet."""
        if self.can_add:
            there = {row.choice for row in self.rows}
            free = [choice for choice, _ in self.options if choice not in there]
            number = max((row.number for row in self.rows), default=-1) + 1
            self.rows = [*self.rows, ContestantRow(number, free[0] if free else "")]

    @rx.event
    @authorized(Role.TRAINER)
    async def drop(self, number: int):
        """One contestant less."""
        if len(self.rows) > 2:
            self.rows = [row for row in self.rows if row.number != number]

    @rx.event
    @authorized(Role.TRAINER)
    async def choose(self, number: int, choice: str):
        """Take another contestant."""
        self._change(number, choice=choice[:80], error="")

    @rx.event
    @authorized(Role.TRAINER)
    async def set_strength(self, number: int, strength: str):
        """Let an adapter count more or less."""
        self._change(number, strength=strength[:10], error="")

    @rx.event
    @authorized(Role.TRAINER)
    async def set_prompts(self, text: str):
        """Count the takes that the texts need."""
        self.prompts = text[:60_000]

    @rx.event
    @authorized(Role.TRAINER)
    async def set_seeds(self, value: float | str):
        """Count the takes."""
        self.n_seeds = f"{value:g}" if isinstance(value, float) else value[:4]

    def _change(self, number: int, **changes: str) -> None:
        self.rows = [replace(row, **changes) if row.number == number else row for row in self.rows]

    @rx.event
    @authorized(Role.TRAINER)
    async def create(self, actor: User, form: TestFields):
        """Set the test up and show how its takes are made, or mark what is wrong."""
        if self.is_sending:
            return
        self.field_errors, self.is_sending = {}, True
        self.rows = [replace(row, error="") for row in self.rows]
        yield
        try:
            test_id = await asyncio.to_thread(_create, actor, form, list(self.rows))
        except InvalidInput as error:
            self._mark(error)
            first = next(iter(self.field_errors), "")
            yield rx.call_script(f"document.getElementById('{first}')?.focus()")
            return
        finally:
            self.is_sending = False
        yield rx.redirect(f"/listening/{test_id}/results")

    def _mark(self, error: InvalidInput) -> None:
        of_rows = {name.partition(".")[2]: text for name, text in error.fields.items() if "." in name}
        self.rows = [
            replace(row, error=of_rows.get(str(index), "").partition(": ")[2])
            for index, row in enumerate(self.rows)
        ]
        self.field_errors = {name: text for name, text in error.fields.items() if "." not in name}


def _options(actor: User) -> list[list[str]]:
    """Base models that make sound, each before its adapters: what is sent, and its name."""
    found = []
    with db.read() as session:
        for offer in offers.list_offers(session, actor=actor, task=Task.TEXT_TO_AUDIO):
            base_id = offer.model.id
            found.append([base_id, f"{offer.name} (base)"])
            found += [[f"{base_id}|{one}", f"{name} · {offer.name}"] for one, name in offer.adapters]
    return found


def _create(actor: User, form: TestFields, rows: list[ContestantRow]) -> str:
    prompts = _lines(form.get("prompts") or "")
    data: dict[str, Any] = {
        "name": form.get("name") or "",
        "prompts": prompts,
        "contestants": [_contestant(row) for row in rows],
        "n_seeds": form.get("n_seeds") or "",
        "seed": form.get("seed") or "0",
        "duration_s": form.get("duration_s") or "",
        "audience": form.get("audience") or "",
        "catch_every": _whole(form.get("catch_every") or ""),
        "max_votes": form.get("max_votes") or None,
        "max_per_rater": form.get("max_per_rater") or None,
    }
    try:
        wanted = ListeningTestCreate.model_validate(data)
    except ValidationError as error:
        raise InvalidInput("Check the marked fields.", fields=_sentences(error)) from error
    with db.write() as session:
        return listening_tests.create(session, actor=actor, form=wanted).id


def _contestant(row: ContestantRow) -> dict[str, Any]:
    model_id, _, adapter_id = row.choice.partition("|")
    strength = row.strength if row.has_strength else 1
    return {"model_id": model_id, "adapter_id": adapter_id or None, "strength": strength}


def _sentences(error: ValidationError) -> dict[str, str]:
    """What to say at which field. What concerns several at once stands at the one that can change it."""
    names = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
    fields = {name: text for name, text in _SENTENCES.items() if name in names}
    for item in error.errors():
        if not item["loc"]:
            said = item["msg"].removeprefix("Value error, ")
            name = "contestants" if "contestants" in said else "prompts"
            fields[name] = f"{said[:1].upper()}{said[1:]}."
    return fields


def _lines(text: str) -> list[str]:
    return [line for one in text.splitlines() if (line := " ".join(one.split()))]


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0
