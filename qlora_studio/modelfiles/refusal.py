"""Why a model can't be used, in the reader's words."""

from qlora_studio.core.errors import InvalidInput


class ModelRefused(InvalidInput):
    """The model's files can't be trained here. `message` says why and what would help."""

    title = "This model can't be trained"
