"""What is done to the compiled pages: portable addresses, the dev server's way to the API, tokens for Tailwind."""

from qlora_studio.frontend.plugin import PortableBuildPlugin
from qlora_studio.frontend.tokens import tailwind_tokens

__all__ = ["PortableBuildPlugin", "tailwind_tokens"]
