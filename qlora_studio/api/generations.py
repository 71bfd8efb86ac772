"""Takes of a text: ask for them, follow, listen, remove."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field
from sqlmodel import Session

from qlora_studio.api.files import SoundFile, sends
from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Filter, Page, Paging
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.contracts.enums import GenerationStatus
from qlora_studio.db import engine as db
from qlora_studio.db.models import Generation, User
from qlora_studio.services import generation_lists, generations, marks
from qlora_studio.services.generation_schemas import (
    GenerationCreate,
    GenerationPublic,
    GenerationUpdate,
    TakePublic,
)

router = APIRouter(tags=["Generations"])


class GenerationFilter(Filter):
    """Which generations, in which order, which page."""

    status: GenerationStatus | None = None
    model_id: Annotated[str, Field(max_length=32)] | None = None
    adapter_id: Annotated[str, Field(max_length=32)] | None = None
    rated: bool | None = None
    favorite: bool = False
    tag: Annotated[str, Field(max_length=32)] | None = None
    like: Annotated[str, Field(max_length=32)] | None = None
    from_tests: bool = False


class SharedFilter(Paging):
    """Which of what others share."""

    favorite: bool = False


class GenerationPage(Page[GenerationPublic]):
    """One page of generations."""


@router.post("/generations", status_code=202, response_model=GenerationPublic, responses=answers(429))
def create_generation(
    body: GenerationCreate, user: CurrentTrainer, request: Request, key: IdempotencyHeader = None
) -> JSONResponse:
    """Have a model make takes of a text, one by one, in the background.

    409: the model isn't ready, or its files have changed; 413: you keep as many takes as you may; 429: too
    many of yours are under way.
    """

    def create(session: Session) -> GenerationPublic:
        return GenerationPublic.of(generations.start(session, actor=user, form=body), [])

    return create_once(user=user, key=key, request=request, body=body, create=create, status_code=202)


@router.get("/generations")
def list_generations(user: CurrentUser, wanted: Annotated[GenerationFilter, Query()]) -> GenerationPage:
    """Return one page of your generations with their takes.

    `rated` finds those of which you have rated a take (or none), `tag` those with a tag of yours, `like`
    those of one generation's text and model, `from_tests` those made for listening tests, left out else.
    """
    with db.read() as session:
        found, total = generation_lists.list_generations(session, actor=user, **wanted.model_dump())
        return GenerationPage.of(_public(session, user, found), total, wanted)


@router.get("/generations/shared")
def list_shared_generations(user: CurrentUser, wanted: Annotated[SharedFilter, Query()]) -> GenerationPage:
    """Return one page of the generations that others share, the newest first."""
    with db.read() as session:
        found, total = generation_lists.list_shared(session, actor=user, **wanted.model_dump())
        items = _public(session, user, found)
    return GenerationPage(items=items, total=total, page=wanted.page, page_size=wanted.page_size)


@router.get("/generations/{generation_id}")
def get_generation(generation_id: str, user: CurrentUser) -> GenerationPublic:
    """Return a generation: how far it is, its takes, or why it failed."""
    with db.read() as session:
        found = generations.get_generation(session, actor=user, generation_id=generation_id)
        return _public(session, user, [found])[0]


@router.patch("/generations/{generation_id}")
def update_generation(generation_id: str, body: GenerationUpdate, user: CurrentTrainer) -> GenerationPublic:
    """Share one of your generations (`read`: listen; `use`: rate and compare too), or no longer."""
    with db.write() as session:
        found = generations.update(session, actor=user, generation_id=generation_id, form=body)
        return _public(session, user, [found])[0]


@router.delete("/generations/{generation_id}", status_code=204)
def delete_generation(generation_id: str, user: CurrentTrainer) -> Response:
    """Call a generation off, or delete one that has ended; its takes and their ratings go with it."""
    with db.write() as session:
        generations.remove(session, actor=user, generation_id=generation_id)
    return Response(status_code=204)


@router.get("/takes/{take_id}")
def get_take(take_id: str, user: CurrentUser) -> TakePublic:
    """Return a take."""
    with db.read() as session:
        take = generations.get_take(session, actor=user, take_id=take_id)
        return TakePublic.of(take, marks.favorites_among(session, actor=user, take_ids=[take.id]))


@router.put("/takes/{take_id}/favorite", status_code=204)
def put_favorite(take_id: str, user: CurrentUser) -> Response:
    """Keep a take among your favourites."""
    with db.write() as session:
        marks.put_favorite(session, actor=user, take_id=take_id)
    return Response(status_code=204)


@router.delete("/takes/{take_id}/favorite", status_code=204)
def delete_favorite(take_id: str, user: CurrentUser) -> Response:
    """Have a take no longer among your favourites."""
    with db.write() as session:
        marks.remove_favorite(session, actor=user, take_id=take_id)
    return Response(status_code=204)


@router.head("/takes/{take_id}/audio", include_in_schema=False)
@router.get("/takes/{take_id}/audio", response_class=FileResponse, responses=sends("audio/wav", ranges=True))
def get_take_audio(take_id: str, user: CurrentUser) -> SoundFile:
    """Return a take's sound as WAV; `Range` works."""
    with db.read() as session:
        path = generations.get_audio(session, actor=user, take_id=take_id)
    return SoundFile(path, name=path.name, media_type="audio/wav")


def _public(session: Session, user: User, found: Sequence[Generation]) -> list[GenerationPublic]:
    """Generations with their takes, as the one who asks may see them."""
    takes = generations.takes_of(session, found)
    ids = [take.id for some in takes.values() for take in some]
    liked = marks.favorites_among(session, actor=user, take_ids=ids)
    return [GenerationPublic.of(generation, takes[generation.id], liked) for generation in found]
