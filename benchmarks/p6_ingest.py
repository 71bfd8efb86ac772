"""P6: taking recordings in, against decoding and resampling them in a plain multiprocessing script.

    python -m benchmarks.p6_ingest [--clips 2400] [--seconds 10] [--repeats 5] [--rate 44100] [--format all]

The plain script does what any use of the recordings needs, on as many processes as there are cores:
libsndfile decodes, soxr makes 16 kHz of it; it keeps nothing. Ours decodes, hashes, measures, fingerprints,
stores the originals, fills the database, deals out splits and waits for the disk, until the dataset is ready.
Both start their children within the time that is measured, each in a fresh interpreter whose imports are not;
uploads are done before. Then the same files are taken in a second time. Ends with 1 under the floor.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

from qlora_studio.examples.catalog import example_dataset_path

FLOOR, AIM, AGAIN_AIM = 0.7, 0.95, 50.0
FORMATS = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
_VOICE_RATE = 16_000

PLAIN = """
import multiprocessing, os, sys, time
from pathlib import Path
import soundfile, soxr

def load(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    return len(mono if rate == 16000 else soxr.resample(mono, rate, 16000))

if __name__ == "__main__":
    paths = sorted(str(path) for path in Path(sys.argv[1]).iterdir())
    started = time.perf_counter()
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        n_samples = sum(pool.imap_unordered(load, paths, chunksize=16))
    print(time.perf_counter() - started)
"""

OURS = """
import sys, time
from qlora_studio.contracts.enums import DatasetStatus
from qlora_studio.db import engine
from qlora_studio.db.models import Dataset
from qlora_studio.ingest import pipeline

ready = []
discard = pipeline.staging.discard  # what is called first once the dataset is ready
pipeline.staging.discard = lambda *a: (ready.append(time.perf_counter()), discard(*a))
started = time.perf_counter()
pipeline.run(sys.argv[1])
with engine.read() as session:
    dataset = session.get_one(Dataset, sys.argv[1])
assert dataset.status is DatasetStatus.READY and not dataset.n_rejected, dataset
print(ready[0] - started)
"""


def make_clips(folder: Path, *, n_clips: int, seconds: float, rate: int, formats: list[str]) -> float:
    """Write stretches of real speech, each at its own pace, in each format in turn; returns the hours."""
    clips = sorted((example_dataset_path() / "clips").glob("*.flac"))
    voice = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in clips])
    rng = np.random.default_rng(0)
    n_samples = 0
    for number in range(n_clips):
        length, pace = seconds * rng.uniform(0.5, 1.5), rng.uniform(0.75, 1.33)
        start = int(rng.integers(0, len(voice) - _VOICE_RATE * length * pace))
        stretch = voice[start : start + int(_VOICE_RATE * length * pace)]
        samples = soxr.resample(stretch, _VOICE_RATE * pace, rate) * np.float32(rng.uniform(0.5, 1.0))
        name = formats[number % len(formats)]
        (folder / f"{number:05d}.{name.lower()}").write_bytes(_encoded(samples, rate, name))
        n_samples += len(samples)
    return n_samples / rate / 3600


def _encoded(samples: np.ndarray, rate: int, name: str) -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, 1, format=name, subtype=FORMATS[name]) as sound:
        for start in range(0, len(samples), 8192):  # libsndfile can't take long pieces of Vorbis at once
            sound.write(samples[start : start + 8192])
    return buffer.getvalue()


class Studio:
    """A data folder with one owner, whose datasets are timed in processes of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        os.environ["QLORA_STUDIO_DATA"] = str(folder)
        os.environ.pop("QLORA_STUDIO_DATABASE_URL", None)
        from qlora_studio.core.settings import get_settings
        from qlora_studio.db import engine, migrations
        from qlora_studio.db.models import User

        get_settings.cache_clear()
        engine.get_engine.cache_clear()
        migrations.upgrade(engine.get_engine())
        with engine.write() as session:
            user = User(username="b", username_key="b", email="b@example.org", email_key="b@example.org",
                        password_hash="!")  # fmt: skip
            session.add(user)
        self._owner_id = user.id

    def take_in(self, folder: Path) -> float:
        """Receive a folder's files, untimed, and return the seconds that taking them in needs."""
        from qlora_studio.contracts.enums import DatasetStatus, Task
        from qlora_studio.db import engine
        from qlora_studio.db.models import Dataset
        from qlora_studio.ingest import staging

        with engine.write() as session:
            dataset = Dataset(owner_id=self._owner_id, name="d", task=Task.AUDIO_CLASSIFICATION,
                              status=DatasetStatus.PROCESSING, source={"kind": "upload"})  # fmt: skip
            session.add(dataset)
        for path in sorted(folder.iterdir()):
            content = path.read_bytes()
            with staging.Receiver(
                dataset.id, path.name, start=0, size=len(content), max_bytes=1 << 32
            ) as receiver:
                receiver.write(content)
                receiver.finish()
        return _timed(OURS, dataset.id)


def _timed(code: str, argument: str) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(code)
        script.flush()
        command = [sys.executable, script.name, argument]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}
        )
    return float(done.stdout.split()[-1])


def main() -> int:
    """Print the table; 0 when the floor holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=2400)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rate", type=int, default=44_100)
    parser.add_argument("--format", choices=["all", *FORMATS], default="all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return _compare(arguments, Path(name))


def _compare(arguments: argparse.Namespace, root: Path) -> int:
    formats = list(FORMATS) if arguments.format == "all" else [arguments.format]
    clips = root / "clips"
    clips.mkdir()
    hours = make_clips(
        clips, n_clips=arguments.clips, seconds=arguments.seconds, rate=arguments.rate, formats=formats
    )
    n_cores = len(os.sched_getaffinity(0))
    print(
        f"{arguments.clips} clips, {hours:.2f} h, {arguments.rate} Hz, {'+'.join(formats)}, {n_cores} cores"
    )
    print(f"{'repeat':>6} {'ours s':>8} {'plain s':>8} {'ratio':>7} {'again s':>8} {'times':>7} {'load':>6}")
    ours, plain, again = [], [], []
    for number in range(arguments.repeats):
        studio = Studio(root / f"data-{number}")
        pair = (
            lambda studio=studio: ours.append(studio.take_in(clips)),
            lambda: plain.append(_timed(PLAIN, str(clips))),
        )
        for side in pair if number % 2 else reversed(pair):
            side()
        again.append(studio.take_in(clips))
        print(
            f"{number + 1:>6} {ours[-1]:>8.2f} {plain[-1]:>8.2f} {plain[-1] / ours[-1]:>7.3f} "
            f"{again[-1]:>8.2f} {ours[-1] / again[-1]:>7.1f} {os.getloadavg()[0]:>6.1f}",
            flush=True,
        )
    ratio = statistics.median(plain) / statistics.median(ours)
    times = statistics.median(ours) / statistics.median(again)
    per_minute = {
        "ours": hours / statistics.median(ours) * 60,
        "plain": hours / statistics.median(plain) * 60,
    }
    print(json.dumps({"hours_per_minute": {k: round(v, 1) for k, v in per_minute.items()}}))
    print(f"median ratio {ratio:.3f} (floor {FLOOR}, aim {AIM}); the same again {times:.1f} times faster "
          f"(aim {AGAIN_AIM:.0f})")  # fmt: skip
    return 0 if ratio >= FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())
