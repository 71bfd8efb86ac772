"""What can be chosen to make and to hear sound with: one's own, and what others share for use."""

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import ModelStatus, Sharing, Task
from qlora_studio.core.errors import Forbidden, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, User
from qlora_studio.services import (
    adapter_imports,
    adapters,
    generations,
    making,
    offers,
    prompt_templates,
    twins,
)
from qlora_studio.services.generation_schemas import GenerationCreate
from qlora_studio.services.prompt_template_schemas import PromptTemplateCreate
from tests.conftest import make_user
from tests.services.test_generations import sound_model
from tests.services.test_ratings import add_takes


@pytest.fixture(autouse=True)
def nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "launch", lambda *_: None)


def add_model(session: Session, owner: User, name: str, **values: object) -> BaseAudioModel:
    fields = {"task": Task.TEXT_TO_AUDIO, "status": ModelStatus.READY} | values
    model = BaseAudioModel(owner_id=owner.id, name=name, **fields)
    session.add(model)
    session.commit()
    return model


def add_adapter(session: Session, owner: User, model: BaseAudioModel, name: str, **values: object) -> Adapter:
    adapter = Adapter(owner_id=owner.id, base_model_id=model.id, name=name, path=f"/none/{name}", **values)
    session.add(adapter)
    session.commit()
    return adapter


def names(session: Session, actor: User, task: Task = Task.TEXT_TO_AUDIO) -> list[str]:
    return [offer.name for offer in offers.list_offers(session, actor=actor, task=task)]


def test_ones_own_come_first_then_what_others_share_for_use(
    session: Session, user: User, stranger: User
) -> None:
    add_model(session, user, "mine")
    add_model(session, stranger, "theirs", sharing=Sharing.USE)
    add_model(session, stranger, "to look at", sharing=Sharing.READ)
    add_model(session, stranger, "secret")
    add_model(session, stranger, "not there yet", sharing=Sharing.USE, status=ModelStatus.DOWNLOADING)
    add_model(session, stranger, "hears", sharing=Sharing.USE, task=Task.SPEECH_TO_TEXT)
    assert names(session, user) == ["mine", "theirs (by mallory)"]
    assert names(session, user, Task.SPEECH_TO_TEXT) == ["hears (by mallory)"]
    assert names(session, stranger)[0] == "secret", "it is their own"


def test_adapters_come_with_their_owners_and_the_default_first(
    session: Session, user: User, stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = add_model(session, stranger, "base", sharing=Sharing.USE)
    add_adapter(session, stranger, base, "private")
    add_adapter(session, stranger, base, "to look at", sharing=Sharing.READ)
    add_adapter(session, stranger, base, "their default", sharing=Sharing.USE, is_active=True)
    own = add_adapter(session, user, base, "my default", is_active=True, active_strength=0.5)
    add_adapter(session, user, base, "newer")
    (offer,) = offers.list_offers(session, actor=user, task=Task.TEXT_TO_AUDIO)
    assert [name for _, name in offer.adapters] == ["my default", "newer", "their default (by mallory)"]
    assert (offer.active_id, offer.active_strength) == (own.id, 0.5)
    carol = make_user(session, "carol")
    (offer,) = offers.list_offers(session, actor=carol, task=Task.TEXT_TO_AUDIO)
    assert (offer.active_id, offer.active_strength) == ("", 1.0), "a default is everybody's own choice"
    add_adapter(session, user, base, "newer", version=4)
    (offer,) = offers.list_offers(session, actor=user, task=Task.TEXT_TO_AUDIO)
    assert [name for _, name in offer.adapters][1:3] == ["newer, version 4", "newer, version 2"]
    monkeypatch.setattr(offers, "MOST_ADAPTERS", 1)
    (offer,) = offers.list_offers(session, actor=user, task=Task.TEXT_TO_AUDIO)
    assert [one for one, _ in offer.adapters] == [own.id], "the default is among few of very many"


def test_what_is_shared_for_use_can_be_made_with_compared_and_kept(
    session: Session, user: User, stranger: User
) -> None:
    base = sound_model(session, stranger)
    adapter = add_adapter(session, stranger, base, "dry")
    kept = PromptTemplateCreate(name="rain", prompt="rain", model_id=base.id, adapter_id=adapter.id)
    with db.write() as writing, pytest.raises(NotFound):
        prompt_templates.create(writing, actor=user, form=kept)
    for sharing in (Sharing.READ, Sharing.USE):
        for thing in (base, adapter):
            thing.sharing = sharing
            session.add(thing)
        session.commit()
        if sharing is Sharing.READ:
            with db.write() as writing, pytest.raises(Forbidden):
                prompt_templates.create(writing, actor=user, form=kept)
    with pytest.raises(Forbidden, match="you may use it, but not change it"):
        adapters.activate(session, actor=user, adapter_id=adapter.id)
    with db.write() as writing:
        prompt_templates.create(writing, actor=user, form=kept)
        form = GenerationCreate(model_id=base.id, prompt="rain", duration_s=0.2)
        made = generations.start(writing, actor=user, form=form)
    with db.read() as reading:
        makers = twins.list_makers(reading, actor=user, generation_id=made.id)
    assert makers.adapters == [(adapter.id, "dry (by mallory)")]


def test_an_adapter_made_elsewhere_is_taken_in_for_what_others_share(
    session: Session, user: User, stranger: User
) -> None:
    base = sound_model(session, stranger)
    form = adapter_imports.AdapterImport(model_id=base.id)
    for sharing, refused in ((Sharing.PRIVATE, NotFound), (Sharing.READ, Forbidden)):
        base.sharing = sharing
        session.add(base)
        session.commit()
        with pytest.raises(refused):
            adapter_imports.require_target(session, actor=user, form=form)
    base.sharing = Sharing.USE
    session.add(base)
    session.commit()
    assert adapter_imports.require_target(session, actor=user, form=form).id == base.id


def test_models_that_made_ones_takes_stay_known_when_they_are_no_longer_shared(
    session: Session, user: User, stranger: User
) -> None:
    base = add_model(session, stranger, "base")
    add_takes(user, 1, model_id=base.id)
    add_model(session, user, "unused")
    assert offers.list_used_models(session, actor=user) == [(base.id, "base (by mallory)")]
