"""Texts that an account keeps under names of its own, with their settings."""

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound
from qlora_studio.db.models import PromptTemplate, User
from qlora_studio.services import access, adapters, audit, models
from qlora_studio.services.access import Action
from qlora_studio.services.prompt_template_schemas import PromptTemplateCreate, PromptTemplateUpdate

MOST = 100  # of one account


def list_templates(session: Session, *, actor: User) -> list[PromptTemplate]:
    """Return all of the actor's, by name."""
    mine = select(PromptTemplate).where(PromptTemplate.owner_id == actor.id)
    return list(session.exec(mine.order_by(col(PromptTemplate.name_key))))


def get_template(session: Session, *, actor: User, template_id: str) -> PromptTemplate:
    """Return one of the actor's.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    template = session.get(PromptTemplate, template_id)
    if template is None or template.owner_id != actor.id:
        raise NotFound("There is no such template.")
    return template


def create(session: Session, *, actor: User, form: PromptTemplateCreate) -> PromptTemplate:
    """Keep a text with its settings.

    Raises:
        Forbidden: the actor's role may only listen.
        InvalidInput: the text is empty, or there are as many as an account may have.
        NotFound: the model or the adapter isn't there, or isn't the actor's.
        Conflict: another one has the name.
    """
    access.require_role(actor, of="generation")
    _take_turn(session, actor)
    mine = select(func.count()).select_from(PromptTemplate).where(PromptTemplate.owner_id == actor.id)
    if session.exec(mine).one() >= MOST:
        raise InvalidInput(f"You can keep {MOST} templates. Delete one that you don't need any more.")
    if form.model_id:
        models.get_model(session, actor=actor, model_id=form.model_id, action=Action.TRY)
    if form.adapter_id:
        adapters.get_view(session, actor=actor, adapter_id=form.adapter_id, action=Action.TRY)
    template = PromptTemplate(
        owner_id=actor.id,
        name_key=_key(form.name),
        **form.model_dump(exclude={"prompt"}),
        prompt=_text(form.prompt),
    )
    _check_name(session, actor, form.name)
    session.add(template)
    _audit(session, actor, "prompt_template.create", template)
    return template


def update(session: Session, *, actor: User, template_id: str, form: PromptTemplateUpdate) -> PromptTemplate:
    """Change a name or a text.

    Raises:
        Forbidden: the actor's role may only listen.
        NotFound: it isn't the actor's.
        InvalidInput: the text is empty.
        Conflict: another one has the name.
    """
    access.require_role(actor, of="generation")
    _take_turn(session, actor)
    template = get_template(session, actor=actor, template_id=template_id)
    if form.prompt is not None:
        template.prompt = _text(form.prompt)
    if form.name is not None:
        _check_name(session, actor, form.name, besides=template.id)
        template.name, template.name_key = form.name, _key(form.name)
    template.updated_at = utc_now()
    session.add(template)
    _audit(session, actor, "prompt_template.update", template)
    return template


def remove(session: Session, *, actor: User, template_id: str) -> None:
    """Delete one; what was made with it stays.

    Raises:
        Forbidden: the actor's role may only listen.
        NotFound: it isn't the actor's.
    """
    access.require_role(actor, of="generation")
    template = get_template(session, actor=actor, template_id=template_id)
    _audit(session, actor, "prompt_template.delete", template)
    session.delete(template)


def _key(name: str) -> str:
    return name.casefold()[:120]


def _text(prompt: str) -> str:
    text = " ".join(prompt.split())
    if not text:
        raise InvalidInput("Describe the sound first.", fields={"prompt": "Describe the sound first."})
    return text


def _take_turn(session: Session, actor: User) -> None:
    """Two that the actor keeps at once are counted, and their names compared, one after the other."""
    session.get_one(User, actor.id, with_for_update=True)


def _check_name(session: Session, actor: User, name: str, *, besides: str = "") -> None:
    same = select(PromptTemplate.id).where(
        PromptTemplate.owner_id == actor.id,
        PromptTemplate.name_key == _key(name),
        PromptTemplate.id != besides,
    )
    if session.exec(same).first() is not None:
        raise Conflict(f"You have a template “{name}” already. Choose another name.")


def _audit(session: Session, actor: User, action: str, template: PromptTemplate) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="prompt_template",
        object_id=template.id,
        object_name=template.name,
    )
