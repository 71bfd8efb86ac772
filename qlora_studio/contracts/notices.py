"""What people are told of, and over what: the words in the database, webhooks, the API and the page."""

from enum import StrEnum


class NoticeKind(StrEnum):
    """What happened."""

    JOB_SUCCEEDED = "job_succeeded"
    JOB_FAILED = "job_failed"
    JOB_LOST = "job_lost"
    JOB_STOPPED = "job_stopped"  # not by its owner
    ADAPTER_BROKEN = "adapter_broken"
    QUEUE_HELD = "queue_held"
    DATASET_READY = "dataset_ready"
    DATASET_FAILED = "dataset_failed"
    PUSH_SUCCEEDED = "push_succeeded"
    PUSH_FAILED = "push_failed"
    CHANNEL_OFF = "channel_off"


KIND_LABELS = {
    NoticeKind.JOB_SUCCEEDED: "Training finished",
    NoticeKind.JOB_FAILED: "Training failed",
    NoticeKind.JOB_LOST: "Training lost",
    NoticeKind.JOB_STOPPED: "Training stopped by something else than you",
    NoticeKind.ADAPTER_BROKEN: "Default adapter broken by its training",
    NoticeKind.QUEUE_HELD: "Queue waits after a restart",
    NoticeKind.DATASET_READY: "Dataset ready",
    NoticeKind.DATASET_FAILED: "Dataset could not be taken in",
    NoticeKind.PUSH_SUCCEEDED: "Push to the Hub finished",
    NoticeKind.PUSH_FAILED: "Push to the Hub failed",
    NoticeKind.CHANNEL_OFF: "A way to reach you was switched off",
}

TOPICS: dict[str, tuple[str, tuple[NoticeKind, ...]]] = {
    "finished": ("Training finished", (NoticeKind.JOB_SUCCEEDED,)),
    "ended": (
        "Training failed, lost or stopped",
        (NoticeKind.JOB_FAILED, NoticeKind.JOB_LOST, NoticeKind.JOB_STOPPED, NoticeKind.ADAPTER_BROKEN),
    ),
    "queue": ("The queue waiting after a restart", (NoticeKind.QUEUE_HELD,)),
    "datasets": ("Long imports of datasets", (NoticeKind.DATASET_READY, NoticeKind.DATASET_FAILED)),
    "pushes": ("Pushes to the Hub", (NoticeKind.PUSH_SUCCEEDED, NoticeKind.PUSH_FAILED)),
    "channels": ("A channel that was switched off", (NoticeKind.CHANNEL_OFF,)),
}  # what people choose by: name, label, and the kinds it stands for; each kind is in one of them


class ChannelKind(StrEnum):
    """A way to reach a person beside the bell."""

    WEBHOOK = "webhook"
    EMAIL = "email"


class DeliveryStatus(StrEnum):
    """Where one notification is on its way over one channel."""

    WAITING = "waiting"  # for its time, `next_at`
    SENDING = "sending"  # by a process that has until `next_at`
    DELIVERED = "delivered"
    FAILED = "failed"  # given up
