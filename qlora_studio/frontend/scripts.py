"""Components' own scripts, which lie beside them."""

import reflex as rx
from reflex.environment import environment


def script(name: str, module: str) -> str:
    """Return what a component imports a script by; a build links it into the app.

    A server that only serves a build takes the short way: the framework finds the caller by reading the
    sources of the whole stack, 40 ms for each script.

    Args:
        name: the file, in the folder of the module.
        module: the caller's `__name__`.
    """
    if environment.REFLEX_SKIP_COMPILE.get():
        return f"$/public/external/{module.replace('.', '/')}/{name}"
    return str(rx.asset(name, shared=True, _stack_level=2).importable_path)
