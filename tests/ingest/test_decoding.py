"""Children that decode: a crash or a hang costs one file."""

import sys
import textwrap

import psutil
import pytest

from qlora_studio.audio.decode import ClipFacts
from qlora_studio.ingest.decoding import DecoderPool
from tests.ingest import sounds

MOODY_CHILD = textwrap.dedent(
    """
    import json, os, signal, sys, time
    print('{"ready": true}', flush=True)
    for line in sys.stdin:
        path = json.loads(line)["path"]
        if path.endswith("crash"): os.kill(os.getpid(), signal.SIGSEGV)
        if path.endswith("exit"): sys.exit(7)
        if path.endswith("hang"): time.sleep(60)
        if path.endswith("nonsense"): print("{", flush=True); continue
        print(json.dumps({"reason": f"seen by {os.getpid()}"}), flush=True)
    """
)


@pytest.mark.parametrize(
    ("mood", "reason"),
    [("crash", "signal 11"), ("exit", "exit code 7"), ("hang", "Hangs the decoder"), ("nonsense", "Crashes")],
)
@pytest.mark.slow
def test_a_file_that_breaks_the_decoder_costs_only_itself(tmp_path, mood, reason):
    limit_s = 1.5 if mood == "hang" else 60.0
    for name in ("before", mood, "after"):
        (tmp_path / name).write_bytes(b"x")
    with DecoderPool(max_clip_s=1, command=[sys.executable, "-c", MOODY_CHILD], min_limit_s=limit_s) as pool:
        before = pool.inspect(tmp_path / "before")
        assert reason in str(pool.inspect(tmp_path / mood))
        after = pool.inspect(tmp_path / "after")
    assert str(before).startswith("seen by")
    assert str(after).startswith("seen by")
    assert before != after, "a fresh child took over"


@pytest.mark.slow
def test_a_crash_among_many_costs_one_and_the_order_stays(tmp_path):
    names = ["a", "b", "crash", "c", "hang", "d", "crash", "exit", "e"]
    paths = []
    for number, name in enumerate(names):
        paths.append(tmp_path / f"{number}-{name}")
        paths[-1].write_bytes(b"x")
    with DecoderPool(max_clip_s=1, command=[sys.executable, "-c", MOODY_CHILD], min_limit_s=1.5) as pool:
        verdicts = [str(verdict) for verdict in pool.inspect_many(paths)]
    expected = {"crash": "signal 11", "exit": "exit code 7", "hang": "Hangs"}
    assert len(verdicts) == len(names)
    for name, verdict in zip(names, verdicts, strict=True):
        assert expected.get(name, "seen by") in verdict


def test_a_child_that_was_killed_between_files_costs_no_file(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with DecoderPool(max_clip_s=1, command=[sys.executable, "-c", MOODY_CHILD]) as pool:
        first = str(pool.inspect(tmp_path / "a"))
        child = psutil.Process(int(first.removeprefix("seen by ")))
        child.kill()
        child.wait(10)
        second = str(pool.inspect(tmp_path / "a"))
    assert first.startswith("seen by")
    assert second.startswith("seen by")
    assert first != second


def test_the_real_child_measures_and_refuses(tmp_path):
    good, broken = tmp_path / "good", tmp_path / "broken"
    good.write_bytes(sounds.wav(0.4))
    broken.write_bytes(b"nothing that sounds")
    with DecoderPool(max_clip_s=10) as pool:
        facts = pool.inspect(good)
        assert isinstance(facts, ClipFacts)
        assert facts.duration_s == pytest.approx(0.4)
        assert len(facts.peaks) == 1600
        assert str(pool.inspect(broken)).startswith("Not audio")


def test_a_thousand_channels_take_no_more_memory_than_one(tmp_path):
    path = tmp_path / "wide"
    path.write_bytes(sounds.wav(0.2, rate=8_000, channels=1000))
    with DecoderPool(max_clip_s=10) as pool:
        assert isinstance(pool.inspect(path), ClipFacts)
