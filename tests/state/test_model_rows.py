from qlora_studio.contracts.enums import ModelStatus, Task
from qlora_studio.db.models import BaseAudioModel
from qlora_studio.state.model_rows import layer_rows, model_row, model_view, preset_rows


def model(**changes: object) -> BaseAudioModel:
    values: dict[str, object] = {
        "owner_id": "usr_x",
        "name": "tiny",
        "task": Task.SPEECH_TO_TEXT,
        "source": {"kind": "hub", "repo_id": "someone/tiny"},
    }
    return BaseAudioModel(**(values | changes))


def test_a_download_shows_how_far_it_is() -> None:
    row = model_row(model(status=ModelStatus.DOWNLOADING, downloaded_bytes=25, size_bytes=100), 0)
    assert (row.percent, row.progress) == (25, "25 B of 100 B")
    assert model_row(model(status=ModelStatus.DOWNLOADING), 0).progress == "Asking the Hub"


def test_a_model_in_use_says_so() -> None:
    assert model_row(model(status=ModelStatus.READY), 2).in_use == "2 jobs"
    assert model_row(model(status=ModelStatus.READY), 0).in_use == ""


def test_an_error_can_be_tried_again_where_that_makes_sense() -> None:
    assert model_view(model(status=ModelStatus.ERROR, error="offline")).can_retry
    assert not model_view(model(status=ModelStatus.ERROR, source={"kind": "starter"})).can_retry


def test_layers_are_listed_largest_first() -> None:
    linear = [
        {"name": "q_proj", "n_in": 64, "n_out": 64, "n_layers": 2},
        {"name": "fc1", "n_in": 64, "n_out": 256, "n_layers": 2},
    ]
    layers = {
        "linear": linear,
        "presets": {"auto": ["q_proj"], "attention": []},
        "n_linear_parameters": 40_960,
    }
    shown = model(status=ModelStatus.READY, n_parameters=41_000, details={"layers": layers})
    assert [row.name for row in layer_rows(shown)] == ["fc1", "q_proj"]
    assert [row.name for row in preset_rows(shown)] == ["auto"], "a choice that means nothing is not offered"
    assert model_view(shown).four_bit_size == "21.3 kB"


def test_a_layer_says_whether_it_goes_into_four_bits() -> None:
    """Those of odd shapes stay in 32 bits, as `training.quantize` keeps them."""
    shapes = {"whole": (128, 64), "half": (96, 64), "odd": (128, 30)}
    linear = [{"name": k, "n_in": i, "n_out": o, "n_layers": 1} for k, (i, o) in shapes.items()]
    rows = layer_rows(model(details={"layers": {"linear": linear}}))
    stored = {row.name: row.stored_in for row in rows}
    assert stored == {"whole": "4 bits", "half": "32 bits", "odd": "32 bits"}


def test_the_size_in_four_bits_counts_odd_layers_in_32() -> None:
    layers = {
        "linear": [{"name": "fc1", "n_in": 64, "n_out": 256, "n_layers": 1}],
        "n_linear_parameters": 16_384,
    }
    odd = {"name": "q_proj", "n_in": 288, "n_out": 288, "n_layers": 1}
    more = {"linear": [*layers["linear"], odd], "n_linear_parameters": 16_384 + 288 * 288}
    only_packed = model_view(model(n_parameters=16_384, details={"layers": layers})).four_bit_size
    assert only_packed == "8.5 kB"
    assert model_view(model(n_parameters=99_328, details={"layers": more})).four_bit_size == "340 kB"
    nothing = {"linear": [odd], "n_linear_parameters": 288 * 288}
    assert model_view(model(n_parameters=82_944, details={"layers": nothing})).four_bit_size == "–"


def test_a_model_that_makes_sound_does_not_hear() -> None:
    assert model_view(model(task=Task.TEXT_TO_AUDIO)).makes_sound
    assert not model_view(model()).makes_sound
