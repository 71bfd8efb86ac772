"""Values that PostgreSQL doesn't take, or gives back in another shape than SQLite does."""

import json
import re
from typing import Any

# JSON knows no such numbers, but its own are of any size: 1e999 is read as infinity by everybody.
_NAN = "-0e999"
_NUMBERS = {"NaN": _NAN, "Infinity": "1e999", "-Infinity": "-1e999"}
_STRING_OR_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|NaN|-?Infinity')


def dump_json(value: Any) -> str:
    """Write JSON that PostgreSQL accepts; metrics may be not a number."""
    text = json.dumps(value)
    if "NaN" not in text and "Infinity" not in text:
        return text
    return _STRING_OR_NUMBER.sub(lambda found: _NUMBERS.get(found[0], found[0]), text)


def load_json(text: str | bytes) -> Any:
    """Read what `dump_json` has written."""
    return json.loads(text, parse_float=_load_number)


def _load_number(text: str) -> float:
    return float("nan" if text == _NAN else text)


def register(connection: Any) -> None:
    """Teach a connection of psycopg our texts and numbers."""
    from psycopg.adapt import Loader
    from psycopg.types.string import StrDumper

    class Text(StrDumper):
        """Texts without NUL, which no column there holds."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd"))

    class Number(Loader):
        """Sums of big integers and means are `numeric` there, and numbers here; no column is."""

        def load(self, data: Any) -> int | float:
            written = bytes(data)
            return int(written) if written.lstrip(b"-").isdigit() else float(written)

    connection.adapters.register_dumper(str, Text)
    connection.adapters.register_loader("numeric", Number)
