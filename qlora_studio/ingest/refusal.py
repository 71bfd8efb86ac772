"""Why taking a dataset in ends early."""


class SourceRefused(Exception):
    """Nothing can be taken from this source; the text says why and what to do."""


class DatasetGone(Exception):
    """The dataset was deleted while it was being taken in."""


class Cancelled(Exception):
    """Somebody stopped it: the dataset isn't `processing` any more."""
