"""Texts under a name: each name once for an account, whoever may generate keeps them."""

import pytest
from pydantic import ValidationError
from sqlmodel import Session

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from qlora_studio.db.models import User
from qlora_studio.services import prompt_templates
from qlora_studio.services.prompt_template_schemas import PromptTemplateCreate, PromptTemplateUpdate
from tests.conftest import make_user
from tests.services.test_generations import sound_model


def keep(session: Session, actor: User, name: str = "Rain", **form):
    wanted = PromptTemplateCreate(name=name, **{"prompt": " rain  on a roof", **form})
    return prompt_templates.create(session, actor=actor, form=wanted)


def change(session: Session, actor: User, template_id: str, **form):
    wanted = PromptTemplateUpdate(**form)
    return prompt_templates.update(session, actor=actor, template_id=template_id, form=wanted)


def test_a_text_is_kept_renamed_and_deleted(session: Session, user: User, stranger: User) -> None:
    model = sound_model(session, user)
    kept = keep(session, user, "  Tin   roof ", model_id=model.id, n_takes=3, seed=7)
    assert (kept.name, kept.prompt, kept.n_takes, kept.seed) == ("Tin roof", "rain on a roof", 3, 7)
    other = keep(session, user, "Bell")
    keep(session, stranger, "Bell")
    with pytest.raises(Conflict, match="“tin ROOF” already"):
        keep(session, user, "tin ROOF")
    with pytest.raises(Conflict):
        change(session, user, other.id, name="TIN roof")
    change(session, user, kept.id, name="tin roof", prompt="hail")
    names = [(one.name, one.prompt) for one in prompt_templates.list_templates(session, actor=user)]
    assert names == [("Bell", "rain on a roof"), ("tin roof", "hail")]
    for act in (prompt_templates.get_template, prompt_templates.remove):
        with pytest.raises(NotFound):
            act(session, actor=stranger, template_id=kept.id)
    prompt_templates.remove(session, actor=user, template_id=kept.id)
    assert len(prompt_templates.list_templates(session, actor=user)) == 1


def test_what_is_refused(session: Session, user: User, stranger: User, monkeypatch) -> None:
    with pytest.raises(Forbidden):
        keep(session, make_user(session, "rita", Role.RATER))
    with pytest.raises(InvalidInput, match="Describe"):
        keep(session, user, prompt="   ")
    for gone in ({"model_id": "mod_none"}, {"adapter_id": "ada_none"}):
        with pytest.raises(NotFound):
            keep(session, user, **gone)
    for wrong in ({"name": " "}, {"n_takes": 17}, {"name": "x" * 61}):
        with pytest.raises(ValidationError):
            keep(session, user, **wrong)
    monkeypatch.setattr(prompt_templates, "MOST", 1)
    keep(session, user)
    with pytest.raises(InvalidInput, match="keep 1 templates"):
        keep(session, user, "Bell")
