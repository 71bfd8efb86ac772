"""What trying one step of a job has found, before the job is launched."""

from pydantic import BaseModel

from qlora_studio.contracts.enums import ExitReason


class RehearsalReport(BaseModel):
    """Whether the step worked, and what it took. Sizes in bytes, times in seconds.

    `reason` and `message` are those that the job itself would end with. `n_clips_read` of the job's `n_clips`
    were decoded in the time there is for it; a rehearsal that fails has looked at none of them.
    """

    ok: bool
    reason: ExitReason
    message: str
    device: str = ""
    step_s: float | None = None
    evaluation_s: float | None = None
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    checkpoint_bytes: int | None = None
    result_bytes: int | None = None
    n_clips: int = 0
    n_clips_read: int = 0
