"""When somebody has enough to train on: their own rule, or the server's."""

from sqlmodel import Session

from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import ReadinessRule, User
from qlora_studio.services import audit
from qlora_studio.services.rating_schemas import ReadinessRulePublic, ReadinessRulePut


def get_rule(session: Session, *, actor: User) -> ReadinessRulePublic:
    """Return the actor's rule, or the one of the server's settings."""
    rule = session.get(ReadinessRule, actor.id)
    if rule is None:
        settings = get_settings()
        return ReadinessRulePublic(
            criterion=None, min_stars=settings.ready_stars, n_needed=settings.ready_takes, is_own=False
        )
    values = {name: getattr(rule, name) for name in ("criterion", "min_stars", "n_needed")}
    return ReadinessRulePublic(**values, is_own=True)


def put_rule(session: Session, *, actor: User, form: ReadinessRulePut) -> ReadinessRulePublic:
    """Set the actor's rule; everything that tells the actor how far the feedback is goes by it."""
    rule = session.get(ReadinessRule, actor.id) or ReadinessRule(user_id=actor.id, min_stars=0, n_needed=0)
    rule.criterion, rule.min_stars, rule.n_needed = form.criterion, form.min_stars, form.n_needed
    session.add(rule)
    audit.record(session, actor=actor, action="feedback.set_rule", details=form.model_dump())
    return get_rule(session, actor=actor)


def forget_rule(session: Session, *, actor: User) -> None:
    """Go by the server's settings again; nothing happens to who does already."""
    rule = session.get(ReadinessRule, actor.id)
    if rule is not None:
        session.delete(rule)
        audit.record(session, actor=actor, action="feedback.forget_rule")
