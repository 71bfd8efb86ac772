"""The training worker: reads `spec.json`, writes `events.jsonl`, checkpoints, an adapter and `result.json`.

Importing this package loads nothing heavy; torch and transformers come in where a job really starts.
Run as `python -m qlora_studio.training run SPEC` or `... validate SPEC`; see `docs/job-protocol.md`.
"""
