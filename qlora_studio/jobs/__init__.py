"""The process side of jobs: supervisor, shim, liveness, event reader, metrics store, logs."""
