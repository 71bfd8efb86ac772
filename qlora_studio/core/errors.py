"""Errors that carry the sentence shown to the user.

    StudioError                 500  anything that is our fault
    ├── InvalidInput            422  a field is wrong; `fields` names which and why
    ├── NotAuthenticated        401  no session, or it has ended
    ├── Forbidden               403  signed in, but the role does not allow it
    ├── NotFound                404  not there, or not yours: the two look the same
    ├── Conflict                409  taken, already done, or in use; `users_of` names by what
    │   └── Doubtful            409  done all the same where somebody insists
    ├── TooLarge                413  over a cap or a quota
    ├── TooManyTries            429  `retry_after_s` says when to come back
    ├── Unavailable         503  what it takes isn't there now; the same request may work in a moment
    └── StorageFull             507  the disk is full; nothing was changed

A service raises one of these; pages show `message` in place and the REST API turns it into an
RFC 9457 problem document with `status` and `title`.
"""

from collections.abc import Mapping, Sequence


class StudioError(Exception):
    """Base of every error whose text may be shown to the user."""

    status = 500
    title = "Something went wrong"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(StudioError):
    """One or more fields are wrong. `fields` maps the field's name to its sentence."""

    status = 422
    title = "Check the marked fields"

    def __init__(self, message: str, *, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = dict(fields or {})


class NotAuthenticated(StudioError):
    status = 401
    title = "Sign in first"


class Forbidden(StudioError):
    status = 403
    title = "Not allowed"


class NotFound(StudioError):
    status = 404
    title = "Not found"


class Conflict(StudioError):
    """The request clashes with what is there. `users_of` names what uses the thing."""

    status = 409
    title = "Conflict"

    def __init__(self, message: str, *, users_of: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.users_of = list(users_of)


class Doubtful(Conflict):
    """There is a reason against it, and `insist` overcomes it."""


class TooLarge(StudioError):
    status = 413
    title = "Too large"


class TooManyTries(StudioError):
    """Asked too often. `retry_after_s` is in seconds."""

    status = 429
    title = "Too many tries"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(StudioError):
    status = 503
    title = "Not available now"


class StorageFull(StudioError):
    status = 507
    title = "Storage full"
