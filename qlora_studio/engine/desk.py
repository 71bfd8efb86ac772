"""Where orders become answers: the right base, the right adapter, the task's own way to hear."""

import time
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
import torch
import transformers

from qlora_studio.contracts.inference import EngineAnswer, EngineRequest, Heard, SoundWish, Variant
from qlora_studio.engine import adapter_files, memory
from qlora_studio.engine.adapter_files import AdapterFiles, BaseNeeds
from qlora_studio.engine.answers import ANSWERS, HEARS_BEGINNING
from qlora_studio.engine.channel import Order
from qlora_studio.engine.refusals import Refused
from qlora_studio.engine.warm import BaseKey, WarmModel
from qlora_studio.training import models


class Desk:
    """Keeps one model warm. The next request for another one takes its place."""

    def __init__(self) -> None:
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        memory.bound()
        self._warm: WarmModel | None = None

    def answer(self, request: EngineRequest, order: Order) -> EngineAnswer:
        """Answer one request.

        Raises:
            Refused, TrainingFailure: it can't be answered; the text says why.
            Cancelled: nobody wants the answer any more.
        """
        if request.task not in ANSWERS:
            raise Refused("Models of this kind can't be tried yet.")
        adapters = [_read(variant) for variant in request.variants]
        started = time.perf_counter()
        warm, is_new = self._ready(request, _common_needs(adapters), order)
        load_s = time.perf_counter() - started if is_new else 0.0
        given = _given(request, warm.task.sampling_rate)
        heard = []
        for index, (variant, adapter) in enumerate(zip(request.variants, adapters, strict=True)):
            share = (index / len(adapters), 1 / len(adapters))
            heard.append(self._hear(warm, variant, adapter, given, order=order, share=share))
            if request.sound is not None:
                request.sound.path = _next_path(request.sound.path, index + 1)
        length_s = request.sound.seconds if request.sound else len(given) / warm.task.sampling_rate
        if request.task in HEARS_BEGINNING:
            length_s = min(length_s, warm.task.max_clip_s)
        return EngineAnswer(heard=heard, load_s=load_s, device=warm.key.device, heard_s=length_s)

    def _ready(self, request: EngineRequest, needs: BaseNeeds, order: Order) -> tuple[WarmModel, bool]:
        device = models.choose_device(request.device)
        key = BaseKey(request.task, request.model_path, request.model_hash, device, needs)
        if self._warm is not None and self._warm.key == key:
            return self._warm, False
        order.progress("Loading the model")
        self._warm = None  # two at once may not fit
        if device == "cpu":
            memory.refuse_what_does_not_fit(request.model_path)
        self._warm = WarmModel(key)
        return self._warm, True

    def _hear(
        self,
        warm: WarmModel,
        variant: Variant,
        adapter: AdapterFiles | None,
        given: np.ndarray | SoundWish,
        *,
        order: Order,
        share: tuple[float, float],
    ) -> Heard:
        before, part = share

        def report(done: float) -> None:
            what = "Making the sound" if isinstance(given, SoundWish) else "Listening"
            order.progress(what, round(100 * (before + part * done)))

        order.check()
        started = time.perf_counter()
        with warm.using(adapter, variant.strength) as model, torch.inference_mode():
            swapped = time.perf_counter()
            said = ANSWERS[warm.key.task](warm.task, model, given, report, order.is_cancelled)
            run_s = time.perf_counter() - swapped
        if isinstance(given, SoundWish):
            sf.write(given.path, said.pop("sound"), warm.task.sampling_rate, subtype="PCM_16")
            said["sound_path"] = given.path
        return Heard(**said, run_s=run_s, swap_s=swapped - started)


def _read(variant: Variant) -> AdapterFiles | None:
    return None if variant.adapter_path is None else adapter_files.read(variant.adapter_path)


def _common_needs(adapters: list[AdapterFiles | None]) -> BaseNeeds:
    """The base that all variants share; one without an adapter takes what the others need."""
    needs = {adapter.needs for adapter in adapters if adapter is not None}
    if len(needs) > 1:
        raise Refused("These adapters were trained on different precisions of the base. Try them one by one.")
    return needs.pop() if needs else BaseNeeds()


def _given(request: EngineRequest, rate: int) -> np.ndarray | SoundWish:
    if request.sound is not None:
        return request.sound
    if request.samples_path is None:
        raise Refused("There is nothing to hear. Choose a clip.")
    return _read_samples(request.samples_path, request.sample_rate, rate)


def _next_path(path: Path, number: int) -> Path:
    stem = path.stem if number == 1 else path.stem.rpartition("-")[0]
    return path.with_name(f"{stem}-{number}.wav")


def _read_samples(path: Path, rate: int, wanted: int) -> np.ndarray:
    try:
        samples = np.fromfile(path, dtype="<f4")
    except OSError as error:
        raise Refused("The clip isn't there any more. Choose it again.") from error
    if not samples.size:
        raise Refused("The clip is empty. Choose another.")
    return samples if rate == wanted else soxr.resample(samples, rate, wanted)
