"""What both sides of a process boundary agree on: pydantic models and enums, nothing else."""
