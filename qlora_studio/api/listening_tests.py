"""Listening tests: blind comparisons of models and adapters, taken by raters, read by their owner."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlmodel import Session

from qlora_studio.api.files import GUARDED, sends
from qlora_studio.api.idempotency import IdempotencyHeader, create_once
from qlora_studio.api.lists import Page, Paging
from qlora_studio.api.problems import answers
from qlora_studio.api.security import CurrentTrainer, CurrentUser
from qlora_studio.db import engine as db
from qlora_studio.db.models import ListeningTest, User
from qlora_studio.services import listening_questions, listening_results, listening_tests
from qlora_studio.services.listening_schemas import (
    Answer,
    AnswerRow,
    Asked,
    Decision,
    ListeningTestCreate,
    ListeningTestPublic,
    Results,
)

router = APIRouter(tags=["Listening tests"])

_NO_TRACE = GUARDED | {
    "Cache-Control": "no-store",
    "Content-Disposition": 'attachment; filename="sound.wav"',
}


class ListeningTestPage(Page[ListeningTestPublic]):
    """One page of listening tests."""


class Export(Results):
    """Results with every answer."""

    test: ListeningTestPublic
    answers: list[AnswerRow]


@router.post("/listening-tests", status_code=201, response_model=ListeningTestPublic)
def create_listening_test(
    body: ListeningTestCreate, user: CurrentTrainer, request: Request, key: IdempotencyHeader = None
) -> JSONResponse:
    """Set a test up; it opens once its takes are made."""

    def create(session: Session) -> ListeningTestPublic:
        return _public(session, user, listening_tests.create(session, actor=user, form=body))

    return create_once(user=user, key=key, request=request, body=body, create=create)


@router.get("/listening-tests")
def list_listening_tests(user: CurrentUser, wanted: Annotated[Paging, Query()]) -> ListeningTestPage:
    """Return one page of the tests that you own or may take, the newest first."""
    with db.read() as session:
        found, total = listening_tests.list_tests(session, actor=user, **wanted.model_dump())
        items = listening_tests.to_public(session, actor=user, tests=found)
    return ListeningTestPage(items=items, total=total, **wanted.model_dump())


@router.get("/listening-tests/{test_id}")
def get_listening_test(test_id: str, user: CurrentUser) -> ListeningTestPublic:
    """Return a test: how far its takes and its votes are. Who is compared is told to its owner alone."""
    with db.read() as session:
        return _public(session, user, listening_tests.get(session, actor=user, test_id=test_id))


@router.delete("/listening-tests/{test_id}", status_code=204)
def delete_listening_test(test_id: str, user: CurrentTrainer) -> Response:
    """Delete a test, or call off one that is being made: takes, answers and votes go with it."""
    with db.write() as session:
        listening_tests.remove(session, actor=user, test_id=test_id)
    return Response(status_code=204)


@router.post("/listening-tests/{test_id}/close")
def close_listening_test(test_id: str, user: CurrentUser) -> ListeningTestPublic:
    """Take no further answers; the results stay."""
    with db.write() as session:
        return _public(session, user, listening_tests.close(session, actor=user, test_id=test_id))


@router.post("/listening-tests/{test_id}/retry", status_code=202)
def retry_listening_test(test_id: str, user: CurrentTrainer) -> ListeningTestPublic:
    """Have the takes made that are missing, after it has failed."""
    with db.write() as session:
        return _public(session, user, listening_tests.retry(session, actor=user, test_id=test_id))


@router.post("/listening-tests/{test_id}/questions")
def ask(test_id: str, user: CurrentUser) -> Asked:
    """Return the question you are at and the one after it; asking again gives the same two."""
    with db.write() as session:
        return listening_questions.ask(session, actor=user, test_id=test_id)


@router.post("/listening-tests/questions/{question_id}/answer", status_code=204)
def answer(question_id: str, body: Answer, user: CurrentUser) -> Response:
    """Say which is better: left, right, tie or skip. The same answer again changes nothing; 409: another."""
    with db.write() as session:
        listening_questions.answer(session, actor=user, question_id=question_id, verdict=body.verdict)
    return Response(status_code=204)


@router.get(
    "/listening-tests/questions/{question_id}/{side}",
    response_class=Response,
    responses=sends("audio/wav") | answers(409),
)
def get_sound(question_id: str, side: Literal["left", "right"], user: CurrentUser) -> Response:
    """Return one side of one of your questions as WAV; nothing about it says what made it."""
    with db.read() as session:
        content = listening_questions.get_sound(session, actor=user, question_id=question_id, side=side)
    return Response(content, media_type="audio/wav", headers=_NO_TRACE)


@router.get("/listening-tests/{test_id}/results")
def get_results(test_id: str, user: CurrentUser) -> Results:
    """Return what the answers say so far: ranking, comparisons, agreement, raters."""
    with db.read() as session:
        return listening_results.get(session, actor=user, test_id=test_id)


@router.put("/listening-tests/{test_id}/raters/{rater_id}")
def decide(test_id: str, rater_id: str, body: Decision, user: CurrentUser) -> Results:
    """Leave a rater's votes out, or keep them, whatever the rule says; null goes back to the rule."""
    with db.write() as session:
        listening_results.decide(
            session, actor=user, test_id=test_id, rater_id=rater_id, is_left_out=body.is_left_out
        )
        session.flush()
        return listening_results.get(session, actor=user, test_id=test_id)


@router.get(
    "/listening-tests/{test_id}/export", response_model=Export, responses={200: {"content": {"text/csv": {}}}}
)
def export(test_id: str, user: CurrentUser, format: Literal["json", "csv"] = "json") -> Response:
    """Return every answer: as JSON with the results, or as a table."""
    with db.read() as session:
        answers = listening_results.list_answers(session, actor=user, test_id=test_id)
        name = f'attachment; filename="{test_id}.{format}"'
        if format == "csv":
            text = listening_results.to_csv(answers)
            return Response(text, media_type="text/csv", headers={"Content-Disposition": name})
        results = listening_results.get(session, actor=user, test_id=test_id)
        test = _public(session, user, listening_tests.get(session, actor=user, test_id=test_id))
    whole = Export(**results.model_dump(), test=test, answers=answers)
    return Response(
        whole.model_dump_json(indent=2),
        media_type="application/json",
        headers={"Content-Disposition": name},
    )


def _public(session: Session, user: User, test: ListeningTest) -> ListeningTestPublic:
    session.flush()
    return listening_tests.to_public(session, actor=user, tests=[test])[0]
