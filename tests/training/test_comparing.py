"""What is chance and what is not, and what is called an improvement."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from qlora_studio.contracts.certificate import OutputMoves, WeightMoves
from qlora_studio.contracts.enums import Verdict
from qlora_studio.training import comparing
from qlora_studio.training.certificate import Certifier, Look
from qlora_studio.training.comparing import compare, pairing
from qlora_studio.training.tasks.base import Output
from qlora_studio.training.tasks.speech import SpeechTask
from qlora_studio.training.verdicts import Findings, decide

MOVED = WeightMoves(n_layers=2, n_unmoved=0, n_not_finite=0, median=0.1, largest=0.2)
OUTPUTS = OutputMoves(n_clips=20, changed=0.5, broken=0.0, base_broken=0.0)


def test_few_clips_prove_nothing_however_large_the_gain() -> None:
    found = compare([1.0] * 5, [0.0] * 5)
    assert found is not None
    assert (found.n_better, found.is_better) == (5, False)
    assert compare([], []) is None


def test_six_clips_that_all_agree_are_more_than_chance() -> None:
    found = compare([1.0] * 6, [0.0] * 6)
    assert found is not None
    assert found.is_better
    assert found.p == pytest.approx(2 / 64)


def test_noise_is_seldom_called_an_improvement() -> None:
    rng = np.random.default_rng(0)
    found = [compare(rng.random(20).tolist(), rng.random(20).tolist()) for _ in range(40)]
    assert sum(f.is_better or f.is_worse for f in found if f) <= 5  # 2 are expected


def test_many_clips_do_not_take_all_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    mean = np.mean

    def watched(values: np.ndarray, **where: object) -> np.ndarray:
        sizes.append(np.size(values))
        return mean(values, **where)  # type: ignore[call-overload]

    monkeypatch.setattr(np, "mean", watched)
    monkeypatch.setattr(comparing, "_AT_ONCE", 20_000)
    rng = np.random.default_rng(0)
    found = compare(rng.random(300).tolist(), rng.random(300).tolist())
    assert found is not None
    assert max(sizes) <= 20_000  # of the resamples' 1.5 million values
    assert sum(sizes) > 2 * 4_000 * 300


def test_a_swap_with_an_infinite_loss_counts_neither_before_nor_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of CTC a text may not fit a clip: means over different pairs would say nothing."""

    def looks(*losses: float) -> list[Look]:
        return [Look(loss, torch.ones(2, 3)) for loss in losses]

    seen = iter([
        looks(1.0, 1.0, 3.0, 3.0), looks(1.0, 1.0, 2.0, 2.0),
        looks(1.0, 1.0, math.inf, 3.0), looks(1.0, 1.0, 2.0, 2.0),
        looks(1.0, 1.0, 3.0, 3.0), looks(1.0, 1.0, math.inf, math.inf),
    ])  # fmt: skip
    certifier = Certifier(None, None, [], check=lambda: None)  # type: ignore[arg-type]
    monkeypatch.setattr(certifier, "_pairs", lambda: [("a", "b")] * 3)
    monkeypatch.setattr(certifier, "_look_at", lambda *_: next(seen))
    base, adapted, change = certifier._listen(SimpleNamespace(disable_adapter=nullcontext))
    assert (base.extra, adapted.extra) == ([2.0], [1.0])
    assert (len(base.own), change) == (6, 0.0)


def _decide(**found: object) -> tuple[Verdict, str]:
    values = {
        "values_before": {"wer": 0.5},
        "values_after": {"wer": 0.4},
        "metric": "wer",
        "outputs": OUTPUTS,
    }
    certificate = decide(Findings(MOVED, **{**values, **found}))  # type: ignore[arg-type]
    return certificate.verdict, certificate.sentence


def test_better_words_count_only_if_the_recordings_are_heard() -> None:
    better = compare([0.5] * 20, [0.4] * 20)
    heard, deaf = pairing([1.0] * 8, [2.0] * 8), pairing([0.0] * 8, [0.01, -0.01] * 4)
    assert _decide(error=better, pairing=heard)[0] is Verdict.IMPROVED
    verdict, sentence = _decide(error=better, pairing=deaf)
    assert verdict is Verdict.NO_EFFECT
    assert "belongs to its recording" in sentence
    assert _decide(error=better, pairing=deaf, needs_pairing=False)[0] is Verdict.IMPROVED


def test_an_exploded_loss_is_broken_with_few_clips_too_unless_the_words_got_better() -> None:
    few = compare([1.1] * 6, [6.0, 0.1, 7.0, 6.0, 0.1, 7.0])
    assert not few.is_worse, "a third of six clips got better: by itself that may be chance"
    same = compare([1.0, 0.0] * 3, [0.0, 1.0] * 3)
    verdict, sentence = _decide(error=same, loss=few)
    assert (verdict, "1.10 to 4.37" in sentence) == (Verdict.BROKEN, True)
    one_clip = compare([1.1] * 20, [200.0] + [0.9] * 19)
    assert _decide(error=compare([0.5] * 20, [0.5] * 20), loss=one_clip)[0] is not Verdict.BROKEN
    assert (
        _decide(error=compare([0.5] * 20, [0.4] * 20), loss=few, needs_pairing=False)[0] is Verdict.IMPROVED
    )


def test_a_lower_loss_is_an_improvement_where_the_words_say_nothing() -> None:
    lower, same = compare([2.0] * 9, [1.0] * 9), compare([0.5] * 9, [0.5] * 9)
    verdict, sentence = _decide(error=same, loss=lower, pairing=pairing([1.0] * 8, [2.0] * 8))
    assert verdict is Verdict.IMPROVED
    assert "may be chance" in sentence
    assert _decide(error=same, loss=compare([1.0] * 9, [1.3] * 9))[0] is Verdict.WORSE
    assert _decide(error=same, loss=compare([1.0] * 9, [1.05] * 9))[0] is Verdict.NO_EFFECT


def test_what_is_lost_is_broken() -> None:
    lost = compare([0.1] * 9, [1.0] * 9)
    assert _decide(error=lost)[0] is Verdict.BROKEN
    assert _decide(error=compare([0.1] * 9, [0.3] * 9))[0] is Verdict.WORSE
    loops = OUTPUTS.model_copy(update={"broken": 0.8})
    assert _decide(outputs=loops)[0] is Verdict.BROKEN
    silent_before = OUTPUTS.model_copy(update={"broken": 0.9, "base_broken": 0.9})
    assert _decide(outputs=silent_before)[0] is Verdict.NO_EFFECT  # the base was no better
    assert _decide(outputs=None)[0] is Verdict.UNMEASURED


@pytest.mark.parametrize(
    ("text", "is_broken"),
    [
        ("the number you have dialled", False),
        ("", True),
        ("you " * 60, True),
        ("it is quite long but it says many different things and so on without a loop", False),
    ],
)
def test_empty_texts_and_loops_are_no_outputs(text: str, is_broken: bool) -> None:
    assert SpeechTask.is_broken(None, "the number is busy", Output(text)) is is_broken  # type: ignore[arg-type]
