"""What the process that merges an adapter into its base is asked, and what it answers."""

from pathlib import Path

from pydantic import BaseModel

from qlora_studio.contracts.enums import Task

REPORT = "merge.json"


class MergeRequest(BaseModel):
    """Paths are absolute. `clips_path` is the run's `clips.jsonl`, None where there is none any more."""

    task: Task
    model_path: Path
    adapter_path: Path
    target_path: Path
    bits: int = 16
    clips_path: Path | None = None
    name: str = ""


class MergeReport(BaseModel):
    """How the merged model compares with base and adapter, on `n_clips` clips (made ones if `is_synthetic`).

    `max_difference` and `mean_difference` are of the last layer's values; `relative` is the norm of the
    difference over the norm of what base and adapter give, and has to stay below `tolerance`.
    """

    bits: int
    n_clips: int
    is_synthetic: bool
    max_difference: float
    mean_difference: float
    relative: float
    tolerance: float
    size_bytes: int = 0

    @property
    def sentence(self) -> str:
        """The comparison, in one line."""
        clips = "made-up clips" if self.is_synthetic else "held-out clips"
        return (
            f"The same outputs as base and adapter on {self.n_clips} {clips}: differences of "
            f"{self.max_difference:.2g} at most and {self.mean_difference:.2g} on average "
            f"({self.relative:.1e} of their size; {self.tolerance:g} is allowed)."
        )


class MergeLine(BaseModel):
    """One line the process prints: how far it is, or how it ended."""

    progress: str = ""
    report: MergeReport | None = None
    refused: str = ""
