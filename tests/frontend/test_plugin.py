from pathlib import Path

import pytest

from qlora_studio.frontend import PortableBuildPlugin, tailwind_tokens
from qlora_studio.frontend.plugin import make_portable


def test_every_address_becomes_the_pages_own() -> None:
    script = 'e={EVENT:"ws://qlora-studio.invalid/_event",PING:`http://qlora-studio.invalid/ping`,x:"http://other"}'
    made = make_portable(script)
    assert "invalid" not in made
    assert 'location.origin.replace(/^http/,"ws"):"ws://localhost")+"/_event")' in made
    assert 'x:"http://other"' in made


def test_a_build_without_addresses_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("nothing()")
    with pytest.raises(RuntimeError):
        PortableBuildPlugin().post_build(static_dir=tmp_path)


def test_every_token_has_a_value_in_light_and_dark() -> None:
    css = (Path(__file__).parents[2] / "assets/theme.css").read_text()
    for name in tailwind_tokens()["colors"]:
        assert css.count(f"  --{name}:") == 2, name
