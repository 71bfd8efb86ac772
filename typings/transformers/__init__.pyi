"""Pyright's view of the package: its front page binds every model there is, a third of the checking time.

Its modules are read as they are.
"""

from typing import Any

def __getattr__(name: str) -> Any: ...
