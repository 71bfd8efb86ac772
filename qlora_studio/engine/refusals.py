"""From an exception to one sentence for whoever asked."""

from qlora_studio.training.failures import TrainingFailure

_OUT_OF_MEMORY = (
    "There is not enough memory for this model. Close what else uses it, or choose a smaller model."
)


class Refused(Exception):
    """This can't be answered; the text says why and is shown as it is."""


def sentence(error: BaseException) -> str:
    """Return what to tell. Never quotes a path or a trace: those are in the log."""
    if isinstance(error, Refused | TrainingFailure):
        return str(error)
    text = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return _OUT_OF_MEMORY
    return "The model could not answer. The server's log has the details."
