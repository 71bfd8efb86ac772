"""P2: from the click on Launch to the first step, against starting a plain script by hand.

    python -m benchmarks.p2_time_to_first_step [--repeats 3] [--model FOLDER] [--batch 4] [--whole]

Both train the same Whisper (of random weights unless one is given) on the same clips, in turns. Ours begins
with the POST to the REST API, in a process that supervises as the server does, and goes through queue,
supervisor, shim and worker, all real: with nothing started beforehand, and with the worker that waits since
the wizard was opened. The plain script begins with its own process, at the same priority: jobs leave the
pages the first turn. For what counts the job does no more than the script: no held-out clips, no probe.
`--whole` shows what measuring the base and the probe cost before the first step. Ends with 1 above the floor.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.p1_throughput import example_clips
from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, ModelStatus, Split, Task
from qlora_studio.contracts.spec import ClipItem
from qlora_studio.launchers.local import NICE
from tests.training import tiny

FLOOR, AIM = 1.2, 0.4
SIZE = {"d_model": 192, "n_layers": 2, "ffn": 768}
LIMIT_S = 300.0
N_CLIPS = 20
LOOKED_AT_S = 15.0  # the fields of the wizard


class Studio:
    """An empty data folder with a person, the model and the clips; jobs are launched over REST."""

    def __init__(self, root: Path, model_path: Path, clips: Path) -> None:
        os.environ["QLORA_STUDIO_DATA"] = str(root / "data")
        from fastapi.testclient import TestClient

        from qlora_studio.api import build_api
        from qlora_studio.api.security import current_user
        from qlora_studio.db import engine, migrations
        from qlora_studio.jobs import supervisor

        (root / "data").mkdir()
        migrations.upgrade(engine.get_engine())
        with engine.write() as session:
            self._user, self._model_id, self._dataset_id = _fill(session, model_path, clips)
        api = build_api()
        api.dependency_overrides[current_user] = lambda: self._user
        self._client = TestClient(api, base_url="http://127.0.0.1/api/v1")
        supervisor.start()

    def open_wizard(self) -> None:
        """Have a worker ready, as the wizard's page does, and look at that page for a while."""
        from qlora_studio.jobs import supervisor

        supervisor.expect()
        time.sleep(LOOKED_AT_S)

    def launch(self, *, batch: int, is_plain: bool) -> dict[str, float]:
        """Launch a job of one step; returns the seconds from the POST to each thing it then did."""
        from qlora_studio.storage import layout

        body = {
            "name": "first step",
            "dataset_id": self._dataset_id,
            "model_id": self._model_id,
            "qlora": {"rank": 8},
            "optimization": {"max_steps": 1, "batch_size": batch, "mode": "exact"},
            "evaluation": {"probe": not is_plain, "n_samples": 0},
        }
        started = time.time()
        answer = self._client.post("/jobs", json=body)
        answer.raise_for_status()
        path = layout.attempt_path(answer.json()["id"], 1)
        if is_plain:
            _leave_out_held_out(path.parent / "clips.jsonl")
        while not (path / "exit.json").exists():
            if time.time() - started > LIMIT_S:
                raise TimeoutError("the job did not end")
            time.sleep(0.02)
        events = [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]
        kept = [event for event in events if event["type"] in ("started", "phase", "metric")]
        names = {"started": lambda _: "started", "phase": lambda e: e["name"], "metric": lambda _: "step"}
        found: dict[str, float] = {}
        for event in kept:
            found.setdefault(names[event["type"]](event), event["ts"] - started)
        return found


def _leave_out_held_out(path: Path) -> None:
    """Take the held-out clips out of a job's list: the script measures nothing."""
    lines = [line for line in path.read_text().splitlines() if '"split":"train"' in line]
    path.write_text("\n".join(lines) + "\n")


def _fill(session: Any, model_path: Path, clips: Path) -> tuple[Any, str, str]:
    from qlora_studio.db.models import BaseAudioModel, Clip, Dataset
    from qlora_studio.modelfiles.prepare import content_hash
    from qlora_studio.storage import atomic, layout
    from tests.conftest import make_user

    user = make_user(session, "ada")
    items = [ClipItem.model_validate_json(line) for line in clips.read_text().splitlines()]
    dataset = Dataset(
        owner_id=user.id,
        name="clips",
        task=Task.SPEECH_TO_TEXT,
        status=DatasetStatus.READY,
        version=1,
        n_clips=len(items),
        duration_s=sum(item.duration_s for item in items),
    )
    model = BaseAudioModel(
        owner_id=user.id,
        name="model",
        task=Task.SPEECH_TO_TEXT,
        status=ModelStatus.READY,
        path=str(model_path),
        n_parameters=5_000_000,
        details={"family": "whisper"},
        content_hash=content_hash(model_path, []),
    )
    session.add_all((dataset, model))
    session.flush()
    for number, item in enumerate(items):
        sha256 = atomic.sha256_file(Path(item.path))
        blob = layout.blob_path(sha256)
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(item.path, blob)
        session.add(
            Clip(
                dataset_id=dataset.id,
                position=number,
                filename=Path(item.path).name,
                sha256=sha256,
                duration_s=item.duration_s,
                sample_rate=8_000,
                channels=1,
                text=item.text,
                split=Split.VALIDATION if number % 5 == 4 else Split.TRAIN,
                status=ClipStatus.OK,
            )
        )
    session.commit()
    return user, model.id, dataset.id


def _run_script(root: Path, model: Path, clips: Path, batch: int) -> float:
    """Seconds from the start of the plain script to the end of its first step."""
    length = {"max_steps": 1, "batch_size": batch, "learning_rate": 1e-3, "mode": "exact"}
    looks = {"every_steps": 10**6, "save_every_steps": 10**6}
    spec = tiny.make_spec(root, model, clips, qlora={"rank": 8}, optimization=length, evaluation=looks)
    path = tiny.write_spec(spec)
    command = ["nice", "-n", str(NICE), sys.executable, "-m", "benchmarks.p1_plain_script", str(path)]
    started = time.time()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["ends"][0] - started


def main() -> int:
    """Print the table; 0 when the floor holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--whole", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = arguments.model or tiny.make_whisper(root / "model", **SIZE)
        clips = example_clips(root / "clips.jsonl", n_clips=N_CLIPS)
        return _compare(arguments, root, model, clips)


def _compare(arguments: argparse.Namespace, root: Path, model: Path, clips: Path) -> int:
    studio = Studio(root, model, clips)
    ready, cold, theirs = [], [], []
    names = ("started", "imports", "model", "data", "training", "step")
    print("seconds since the launch         " + " ".join(f"{name:>9}" for name in names) + f" {'script':>9}")
    for number in range(arguments.repeats):
        theirs.append(_run_script(root / f"plain{number}", model, clips, arguments.batch))
        for label, steps in (("nothing started", cold), ("a worker waits", ready)):
            if steps is ready:
                studio.open_wizard()
            found = studio.launch(batch=arguments.batch, is_plain=True)
            steps.append(found["step"])
            shown = " ".join(f"{found[name]:>9.2f}" for name in names)
            print(f"{number + 1:>16} {label:>16} {shown} {theirs[-1]:>9.2f}", flush=True)
    if arguments.whole:
        whole = studio.launch(batch=arguments.batch, is_plain=False)
        looked = ", ".join(f"{name} {whole[name]:.2f}" for name in ("baseline", "probe", "step"))
        print(f"with the base measured on {N_CLIPS // 5} clips and the probe: {looked}")
    script = statistics.median(theirs)
    print(
        f"median ratio with nothing started beforehand {statistics.median(cold) / script:.2f} (floor {FLOOR})"
    )
    ratio = statistics.median(ready) / script
    print(f"median ratio with the worker that waits {ratio:.2f} (floor {FLOOR}, aim {AIM})")
    return 0 if statistics.median(cold) <= FLOOR * script else 1


if __name__ == "__main__":
    sys.exit(main())
