"""Lists of what is said: one `name: text` line for each recording, `;` before a comment.

So come the sound packages of telephone exchanges, for example `digits/0: zero`.
"""

import re
from pathlib import Path

from qlora_studio.ingest.manifests import MAX_ROWS, Labels, Manifest, ManifestRefused, Row, read_text
from qlora_studio.ingest.names import clean_name

_LINE = re.compile(r"([\w.+-][\w./+ -]{0,199}?)\s*:\s+(\S.*)")
_MIN_LINES = 2
_MIN_SHARE = 0.8


def read_transcript(path: Path, name: str) -> Manifest | None:
    """Read a list of what is said, or return None if the text is something else."""
    try:
        content = read_text(path, name)
    except ManifestRefused:
        return None
    rows: list[Row] = []
    n_lines = 0
    for number, line in enumerate(content.splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith(";"):
            continue
        n_lines += 1
        if match := _LINE.fullmatch(text):
            rows.append(Row(number, clean_name(match[1]), Labels(text=match[2])))
    if len(rows) < max(_MIN_LINES, _MIN_SHARE * n_lines) or len(rows) > MAX_ROWS:
        return None
    return Manifest(name, rows, mapping={"file": "name", "text": "text"}, columns=["name", "text"])
