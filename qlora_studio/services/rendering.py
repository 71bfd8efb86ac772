"""Pictures and varied sounds of clips, made on demand by one warm child (`audio.renderer`).

The child is started at the first request, kept while there is work, and ended when idle. One that hangs or
crashes costs the request that did it.
"""

import base64
import contextlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session

from qlora_studio.contracts.spec import AugmentationSpec
from qlora_studio.core.errors import InvalidInput, StudioError, TooManyTries
from qlora_studio.db.models import Dataset, User
from qlora_studio.ingest.child import Child
from qlora_studio.services import clips
from qlora_studio.storage import atomic, layout

COMMAND = (sys.executable, "-m", "qlora_studio.audio.renderer")
DRAWN_AS = "1"  # raise it when spectrograms come to look different
MAX_KEPT = 4000  # pictures, about 60 kB each
_PRUNE_TO = 0.9
_BUSY = "Too many recordings are being read. Try again in a moment."
_FAILED = "This recording can't be read. It may be damaged."


class Renderer:
    """One child, asked by one thread of its own, so that it lives and dies with that.

    Args:
        command: the child's command line.
        idle_s: end the child when nothing was asked for so long.
        limit_s: the longest one answer may take.
        max_waiting: refuse when so many requests wait.
        max_answer_bytes: says how long an answer may be; a longer one is taken for nonsense.
    """

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        idle_s: float = 60.0,
        limit_s: float = 15.0,
        max_waiting: int = 8,
        max_answer_bytes: Callable[[], int] = lambda: 4 << 20,
    ) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._command, self._idle_s, self._limit_s = command, idle_s, limit_s
        self._requests: queue.Queue[tuple[dict[str, Any], Future[bytes]]] = queue.Queue(max_waiting)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def render(self, request: dict[str, Any]) -> bytes:
        """Return what the child makes.

        Raises:
            TooManyTries: too many others wait.
            InvalidInput: it can't be made of this recording.
            StudioError: the child can't be started.
        """
        result: Future[bytes] = Future()
        with self._lock:
            try:
                self._requests.put_nowait((request, result))
            except queue.Full:
                raise TooManyTries(_BUSY, retry_after_s=2) from None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="renderer", daemon=True)
                self._thread.start()
        return result.result()

    def _work(self) -> None:
        child: Child | None = None
        while True:
            try:
                request, result = self._requests.get(timeout=self._idle_s)
            except queue.Empty:
                with self._lock:
                    if not self._requests.empty():
                        continue
                    self._thread = None
                break
            try:
                if child is None or not child.is_there():
                    child = Child(self._command, max_answer_bytes=self._max_answer_bytes()).wait()
            except (OSError, ValueError):
                child = None
                result.set_exception(StudioError("Recordings can't be read now. Try again in a moment."))
                continue
            self._answer(child, request, result)
        if child is not None:
            child.end()

    def _answer(self, child: Child, request: dict[str, Any], result: "Future[bytes]") -> None:
        try:
            child.ask(request)
            answer = json.loads(child.read_line(self._limit_s))
            if "reason" in answer:
                result.set_exception(InvalidInput(str(answer["reason"])))
            else:
                result.set_result(base64.b64decode(answer["content"]))
        except Exception:  # it hangs, crashed or talks nonsense; whoever asked must get an answer
            child.end()
            result.set_exception(InvalidInput(_FAILED))


_renderer = Renderer()


@dataclass(frozen=True, slots=True)
class Recording:
    """A clip's sound: what it takes to make something of it without the database."""

    clip_id: str
    sha256: str
    path: Path
    augmentation: AugmentationSpec


def get_recording(session: Session, *, actor: User, clip_id: str) -> Recording:
    """Return the recording of a clip, with its dataset's way to vary it.

    Raises:
        NotFound: the clip isn't the actor's, or has no recording.
    """
    clip, path, _ = clips.get_audio(session, actor=actor, clip_id=clip_id)
    dataset = session.get_one(Dataset, clip.dataset_id)
    augmentation = AugmentationSpec.model_validate(dataset.augmentation)
    return Recording(clip.id, clip.sha256, path, augmentation)


def spectrogram(recording: Recording) -> bytes:
    """Return a recording's spectrogram as a PNG, drawn now if it isn't kept.

    Raises:
        InvalidInput: it can't be drawn.
        TooManyTries: too many others are being drawn.
    """
    path = layout.spectrogram_path(recording.sha256).with_suffix(f".{DRAWN_AS}.png")
    with contextlib.suppress(FileNotFoundError):
        content = path.read_bytes()
        os.utime(path)  # the ones looked at last are kept longest
        return content
    content = _renderer.render({"make": "spectrogram", "path": str(recording.path)})
    with contextlib.suppress(OSError):  # a full disk costs the copy, not the picture
        atomic.write_bytes(path, content)
        _prune(path.parent)
    return content


def varied(
    recording: Recording, *, augmentation: AugmentationSpec | None = None, seed: int = 0, epoch: int = 0
) -> bytes:
    """Return a recording as training would hear it: WAV, mono, 16 kHz, at most its first 40 s.

    Args:
        augmentation: how it is varied; None means as its dataset says.
        seed: the job's seed.
        epoch: each epoch sounds another way.

    Raises:
        InvalidInput: it can't be read.
        TooManyTries: too many others are being made.
    """
    spec = augmentation if augmentation is not None else recording.augmentation
    return _renderer.render(
        {
            "make": "varied",
            "path": str(recording.path),
            "augmentation": spec.model_dump(),
            "seed": seed,
            "epoch": epoch,
            "clip_id": recording.clip_id,
        }
    )


def _prune(folder: Path) -> None:
    """Keep the pictures that were looked at last."""
    kept = [(entry.stat().st_mtime, entry.path) for entry in os.scandir(folder)]
    if len(kept) > MAX_KEPT:
        for _, path in sorted(kept)[: len(kept) - int(MAX_KEPT * _PRUNE_TO)]:
            Path(path).unlink(missing_ok=True)
