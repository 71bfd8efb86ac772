"""`python -m qlora_studio.ingest <dataset id>`: take one dataset in."""

import contextlib
import os
import sys

from qlora_studio.core.logging import set_up_logging
from qlora_studio.core.settings import get_settings
from qlora_studio.ingest.pipeline import run


def main() -> None:
    """Run at a lower priority than the pages and the training."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m qlora_studio.ingest DATASET_ID")
    # Plain requests only, and nothing told to anybody: set before the Hub's library reads them.
    for name in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
    with contextlib.suppress(OSError):
        os.nice(5)
    set_up_logging(get_settings().log_level)
    run(sys.argv[1])


if __name__ == "__main__":
    main()
