"""Blind pairs: two takes of a text, and which one somebody prefers."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlmodel import Session

from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Page, Paging
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentUser
from qlora_studio.db import engine as db
from qlora_studio.services import votes
from qlora_studio.services.vote_schemas import NextPair, TakenBack, VotePublic, VotePut

router = APIRouter(tags=["Feedback"])

PairIds = Annotated[list[Annotated[str, Field(max_length=70)]], Query(max_length=20)]


class VotePage(Page[VotePublic]):
    """One page of votes."""


@router.get("/preferences/next")
def get_next(user: CurrentUser, without: PairIds = []) -> NextPair:  # noqa: B006
    """Return two takes of one text to compare, none of which says what made it; never a pair you answered.

    `without` names pairs that you are answering just now, to have the one after them ready.
    """
    with db.read() as session:
        return votes.get_next(session, actor=user, leaving_out=without)


@router.post("/preferences", status_code=201, response_model=VotePublic)
def put_vote(
    body: VotePut, user: CurrentUser, request: Request, key: IdempotencyHeader = None
) -> JSONResponse:
    """Say which of two takes you prefer; your own vote about the two is replaced.

    Either `chosen_id` and `rejected_id` (and `tie`), or `first_take_id`, `second_take_id` and a `verdict`:
    left, right, tie or skip.
    """

    def put(session: Session) -> VotePublic:
        return VotePublic.of(votes.put(session, actor=user, form=body))

    return create_once(user=user, key=key, request=request, body=body, create=put)


@router.get("/preferences")
def list_votes(user: CurrentUser, wanted: Annotated[Paging, Query()]) -> VotePage:
    """Return one page of your votes, the latest first."""
    with db.read() as session:
        found, total = votes.list_own(session, actor=user, **wanted.model_dump())
    return VotePage(items=[VotePublic.of(vote) for vote in found], total=total, **wanted.model_dump())


@router.delete("/preferences/last", responses=answers(404))
def take_back_last(user: CurrentUser) -> TakenBack:
    """Take your latest vote back; its pair can be answered again."""
    with db.write() as session:
        return votes.take_back_last(session, actor=user)
