"""What is done to the compiled pages: portable addresses, a way to the API in development, tokens."""

from qlora_studio.frontend.plugin import PortableBuildPlugin
from qlora_studio.frontend.tokens import tailwind_tokens

__all__ = ["PortableBuildPlugin", "tailwind_tokens"]
