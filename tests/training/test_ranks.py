"""Sharing a batch between processes; that they learn the same is tested in `tests/protocol`."""

import random

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from qlora_studio.contracts.enums import TrainingType
from qlora_studio.training import models, randomness
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.ranks import ALONE, Ranks
from tests.training import tiny


def rank_of(rank: int, size: int) -> Ranks:
    """One that has met nobody."""
    ranks = Ranks()
    ranks.rank, ranks.size = rank, size
    return ranks


def make_batch(n_clips: int) -> dict:
    rows = torch.arange(n_clips)
    hidden = BaseModelOutput(last_hidden_state=rows[:, None].float())
    return {"labels": rows[:, None], "encoder_outputs": hidden}


@pytest.mark.parametrize("n_clips", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_each_clip_is_one_process_s(n_clips: int, size: int) -> None:
    seen = []
    for rank in range(size):
        own, has_rows = rank_of(rank, size).share(make_batch(n_clips))
        assert type(own["encoder_outputs"]) is BaseModelOutput
        assert own["encoder_outputs"].last_hidden_state[:, 0].tolist() == own["labels"][:, 0].tolist()
        assert len(own["labels"]) > 0, "every process does the same work"
        seen += own["labels"][:, 0].tolist() if has_rows else []
    assert sorted(seen) == list(range(n_clips))


def test_a_batch_of_something_that_is_not_by_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="odd has 5 rows for 2 clips"):
        rank_of(0, 2).share({**make_batch(2), "odd": torch.zeros(5)})


def test_own_randomness_differs_by_process_and_step_and_can_be_repeated() -> None:
    def draw(rank: int, step: int) -> tuple[float, float, float]:
        with rank_of(rank, 2).own_randomness(0, step, 0):
            return float(torch.rand(1)), float(np.random.rand()), random.random()

    state = torch.get_rng_state()
    drawn = {(rank, step): draw(rank, step) for rank in (0, 1) for step in (0, 1)}
    assert len({value for values in drawn.values() for value in values}) == 12
    assert draw(1, 1) == drawn[1, 1]
    assert torch.equal(torch.get_rng_state(), state)  # what all draw from goes on as if nothing had been


def test_alone_nothing_is_exchanged_and_randomness_goes_on() -> None:
    with randomness.kept():
        torch.manual_seed(3)
        plain = torch.rand(2)
        torch.manual_seed(3)
        with ALONE.own_randomness(0, 0, 0):
            assert torch.equal(torch.rand(2), plain)
    assert ALONE.agree(True)
    assert float(ALONE.sum_of(torch.tensor(2.0))) == 2.0
    ALONE.sum_gradients([])
    ALONE.part()


def test_what_one_device_alone_can_do_is_refused_with_a_sentence(tmp_path) -> None:
    spec = tiny.make_spec(tmp_path, tmp_path, tmp_path, training_type=TrainingType.PREFERENCE)
    with pytest.raises(ModelNotUsable, match="Set devices to 1"):
        models.refuse_several_devices(spec)
    spec = tiny.make_spec(tmp_path, tmp_path, tmp_path, optimization={"scheduler": "range_test"})
    with pytest.raises(ModelNotUsable, match="Set devices to 1"):
        models.refuse_several_devices(spec)
    normed = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    models.refuse_batch_norms(normed, tiny.make_spec(tmp_path, tmp_path, tmp_path))
    pretraining = tiny.make_spec(tmp_path, tmp_path, tmp_path, training_type=TrainingType.PRETRAINING)
    with pytest.raises(ModelNotUsable, match="batch norms"):
        models.refuse_batch_norms(normed, pretraining)
