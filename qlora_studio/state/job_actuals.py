"""What was foretold of a job beside what it took."""

from dataclasses import dataclass

from qlora_studio.db.models import Job
from qlora_studio.state import formats


@dataclass(frozen=True)
class ActualRow:
    """One line: `took` is empty as long as it is not known."""

    name: str
    foretold: str
    took: str


def actual_rows(job: Job) -> list[ActualRow]:
    """Memory, time and disk of a job; nothing of one that was never forecast."""
    if not {"memory", "time", "disk"} <= job.forecast.keys():
        return []
    memory, time, disk = (job.forecast[name] for name in ("memory", "time", "disk"))
    is_card = job.forecast.get("device") == "cuda"
    n_sharing = 1 if is_card else memory.get("n_devices", 1)  # of a processor, they share the memory
    peak = job.actual.get("peak_gpu_bytes" if is_card else "peak_rss_bytes")
    seconds, n_bytes = job.actual.get("seconds"), job.actual.get("disk_bytes")
    return [
        ActualRow(
            "Graphics memory at the peak" if is_card else "Memory at the peak",
            formats.size(memory["total_bytes"] * n_sharing),
            formats.size(peak) if peak else "",
        ),
        ActualRow(
            "Time",
            f"{formats.duration(time['low_s'])} to {formats.duration(time['high_s'])}",
            formats.duration(seconds) if seconds else "",
        ),
        ActualRow("Disk", formats.size(disk["total_bytes"]), formats.size(n_bytes) if n_bytes else ""),
    ]
