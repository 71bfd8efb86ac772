"""A stand-in for the inference process: it does what the model's folder is called. No torch, no delay."""

import json
import os
import sys
import threading
import time
import wave


def say(content: dict) -> None:
    print(json.dumps(content), flush=True)


def answer(request: dict) -> None:
    what = os.path.basename(request["model_path"])
    number = request["id"]
    say({"id": number, "progress": {"label": "Listening", "percent": 40}})
    if what == "crash":
        os._exit(3)
    if what == "refuse":
        say({"id": number, "refusal": "No."})
        return
    if what in {"hang", "deaf"}:
        cancelled.wait() if what == "hang" else time.sleep(600)
        cancelled.clear()
        say({"id": number, "is_cancelled": True})
        return
    said: dict = {"text": f"{os.getpid()}"}
    if request["task"] == "speaker-diarization":
        said = {"segments": [{"start_s": s, "duration_s": 0.3, "speaker": "speaker_2"} for s in (0.1, 0.6)]}
    if request.get("sound"):
        path = request["sound"]["path"]
        with wave.open(path, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(
                bytes([request["sound"]["seed"] % 256, 1]) * round(16_000 * request["sound"]["seconds"])
            )
        said = {"sound_path": path}
    heard = [{**said, "run_s": 0.1} for _ in request["variants"]]
    say({"id": number, "answer": {"heard": heard, "device": what, "heard_s": 1.0}})


cancelled = threading.Event()


def read() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "cancel" in request:
            cancelled.set()
        else:
            threading.Thread(target=answer, args=(request,), daemon=True).start()
    os._exit(0)


read()
