"""Why a notification did not arrive."""


class NotDelivered(Exception):
    """It did not arrive; the text says why, for the person who wants to be reached.

    Attributes:
        is_final: another try would end the same.
        is_gone: nor would any other notification arrive this way.
    """

    def __init__(self, message: str, *, is_final: bool = False, is_gone: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.is_final, self.is_gone = is_final, is_gone
