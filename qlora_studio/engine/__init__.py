"""The inference process: one base model kept warm, adapters swapped in place, one request at a time.

Importing this package loads nothing heavy. Run as `python -m qlora_studio.engine`: it reads requests on
standard input and answers on standard output (`contracts.inference`). `services.engine_host` starts it.
"""
