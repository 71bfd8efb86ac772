"""The two promises that keep the house quick: no torch in the web, no web in the training."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "trl", "bitsandbytes", "librosa")


def _loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.slow
def test_the_web_app_loads_no_training_library():
    assert _loaded_after("import qlora_studio.qlora_studio").isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "module", ["qlora_studio.training", "qlora_studio.training.__main__", "qlora_studio.engine.__main__"]
)
@pytest.mark.slow
def test_training_and_inference_load_no_web_and_no_database(module):
    assert _loaded_after(f"import {module}").isdisjoint({"reflex", "sqlmodel", "sqlalchemy", "fastapi"})
