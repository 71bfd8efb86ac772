"""Listening tests as they are once open, and raters who know what they like."""

from random import Random

import numpy as np
import soundfile
from sqlmodel import Session

from qlora_studio.contracts.enums import (
    Audience,
    GenerationStatus,
    ListeningStatus,
    Preference,
    QuestionKind,
)
from qlora_studio.db import engine as db
from qlora_studio.db.models import (
    Generation,
    ListeningCell,
    ListeningContestant,
    ListeningQuestion,
    ListeningTest,
    Take,
    User,
)
from qlora_studio.listening.strengths import answer_shares
from qlora_studio.services import tallies
from qlora_studio.storage import layout

RATE = 16_000


def open_test(
    owner: User, *, n_contestants: int = 3, n_prompts: int = 2, n_seeds: int = 1, files: bool = False, **more
) -> ListeningTest:
    """A test whose takes are there. Contestant 0 is the base model, the others are adapters of it."""
    fields = {
        "name": "Which is best", "status": ListeningStatus.OPEN, "audience": Audience.EVERYONE, "seed": 0,
        "n_seeds": n_seeds, "prompts": [f"bell {i}" for i in range(n_prompts)], "duration_s": 0.1,
        "guidance": 3.0, "temperature": 1.0, "catch_every": 10, "sample_rate": RATE,
    }  # fmt: skip
    test = ListeningTest(owner_id=owner.id, **(fields | more))
    with db.write() as session:
        session.add(test)
        session.flush()
        for position in range(n_contestants):
            row = ListeningContestant(
                test_id=test.id, position=position, model_id="mod_a", model_name="Bells",
                adapter_id=f"ada_{position}" if position else None,
                adapter_name=f"adapter {position}" if position else "",
            )  # fmt: skip
            session.add(row)
            for prompt in range(n_prompts):
                made = _generation(session, test, row, prompt, files=files)
                session.add(
                    ListeningCell(test_id=test.id, contestant=position, prompt=prompt, generation_id=made.id)
                )
    return test


def _generation(
    session: Session, test: ListeningTest, row: ListeningContestant, prompt: int, *, files: bool
) -> Generation:
    made = Generation(
        owner_id=test.owner_id, prompt=test.prompts[prompt], model_id=row.model_id, model_name="Bells",
        adapter_id=row.adapter_id, adapter_name=row.adapter_name, duration_s=0.1, seed=0, guidance=3.0,
        n_takes=test.n_seeds, n_done=test.n_seeds, temperature=1.0, status=GenerationStatus.SUCCEEDED,
    )  # fmt: skip
    session.add(made)
    session.flush()
    tallies.count_generation(session, made)
    for position in range(test.n_seeds):
        take = Take(
            generation_id=made.id, owner_id=test.owner_id, model_id=row.model_id, position=position,
            seed=position, duration_s=0.1, sample_rate=RATE, size_bytes=1,
        )  # fmt: skip
        session.add(take)
        tallies.count_take(session, made)
        if files:
            path = layout.take_path(made.id, take.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            tone = 0.4 * np.sin(np.arange(RATE // 10) * (0.05 + 0.02 * row.position))
            soundfile.write(path, tone, RATE, subtype="PCM_16")
    return made


def look_up(question_id: str) -> ListeningQuestion:
    """What a question really is."""
    with db.read() as session:
        return session.get_one(ListeningQuestion, question_id)


CHOICES = [Preference.LEFT, Preference.RIGHT, Preference.TIE]


class Listener:
    """A careful rater who hears strengths and answers by chance as the model says."""

    def __init__(self, seed: int, strengths: list[float], *, tie: float = -1.5) -> None:
        self._random = Random(seed)
        self._strengths, self._tie = strengths, tie

    def answer(self, question: ListeningQuestion) -> Preference:
        if question.kind is QuestionKind.CATCH:
            if not question.damaged:
                return Preference.TIE
            return Preference.RIGHT if question.damaged == "left" else Preference.LEFT
        apart = self._strengths[question.left] - self._strengths[question.right]
        shares = answer_shares(np.array(apart), self._tie)
        return self._random.choices(CHOICES, weights=list(shares))[0]


class Guesser(Listener):
    """Presses any button."""

    def answer(self, question: ListeningQuestion) -> Preference:
        return self._random.choice(CHOICES)


class Contrarian(Listener):
    """Prefers what is broken, and hears a difference where there is none."""

    def answer(self, question: ListeningQuestion) -> Preference:
        if question.kind is QuestionKind.CATCH:
            return Preference(question.damaged or "left")
        return super().answer(question)
