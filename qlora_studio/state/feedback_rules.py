"""The dialog in which people say when they have enough to train on."""

import asyncio

import reflex as rx
from pydantic import ValidationError

from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import feedback_rules
from qlora_studio.services.rating_schemas import ReadinessRulePublic, ReadinessRulePut
from qlora_studio.state.auth import authorized
from qlora_studio.state.feedback import FeedbackState

_SAID = {
    "criterion": "A word or two, at most 32 characters.",
    "min_stars": "From 1 to 5 stars.",
    "n_needed": "A whole number, at least 1.",
}


class FeedbackRuleState(rx.State):
    """The dialog over the tab of the progress."""

    is_open: bool = False
    criterion: str = ""
    min_stars: str = "4"
    n_needed: str = "50"
    is_own: bool = False
    field_errors: dict[str, str] = {}

    @rx.event
    @authorized()
    async def show(self, actor: User):
        """Open the dialog with the rule as it is."""
        rule = await asyncio.to_thread(_read, actor)
        self.criterion, self.is_own = rule.criterion or "", rule.is_own
        self.min_stars, self.n_needed = f"{rule.min_stars:g}", str(rule.n_needed)
        self.field_errors, self.is_open = {}, True

    @rx.event
    @authorized()
    async def close(self):
        """Leave the rule as it is."""
        self.is_open = False

    @rx.event
    @authorized()
    async def save(self, actor: User, form: dict[str, str]):
        """Go by another rule."""
        given = {name: form.get(f"rule-{name}", "")[:40].strip() for name in _SAID}
        given = {name: value for name, value in given.items() if value or name != "criterion"}
        try:
            rule = ReadinessRulePut.model_validate(given)
        except ValidationError as error:
            fields = {str(one["loc"][0]) for one in error.errors()}
            raise InvalidInput("", fields={name: _SAID[name] for name in sorted(fields)}) from error
        await asyncio.to_thread(_put, actor, rule)
        self.is_open = False
        yield FeedbackState.refresh

    @rx.event
    @authorized()
    async def forget(self, actor: User):
        """Go by the server's rule again."""
        await asyncio.to_thread(_forget, actor)
        self.is_open = False
        yield FeedbackState.refresh


def _read(actor: User) -> ReadinessRulePublic:
    with db.read() as session:
        return feedback_rules.get_rule(session, actor=actor)


def _put(actor: User, form: ReadinessRulePut) -> None:
    with db.write() as session:
        feedback_rules.put_rule(session, actor=actor, form=form)


def _forget(actor: User) -> None:
    with db.write() as session:
        feedback_rules.forget_rule(session, actor=actor)
