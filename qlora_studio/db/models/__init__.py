"""Every table, so that importing this module fills the metadata."""

from qlora_studio.db.models.adapter import Adapter
from qlora_studio.db.models.audit import AuditEvent, IdempotencyKey
from qlora_studio.db.models.dataset import (
    Clip,
    ClipChange,
    ClipFinding,
    Credential,
    Dataset,
    DatasetVersion,
    Exclusion,
)
from qlora_studio.db.models.dictation import Dictation, Transcript
from qlora_studio.db.models.generation import (
    Favorite,
    Generation,
    GenerationTag,
    MarkState,
    PromptTemplate,
    Take,
)
from qlora_studio.db.models.hub_push import HubPush
from qlora_studio.db.models.job import Job, JobSample, WizardDraft
from qlora_studio.db.models.listening import (
    ListeningCell,
    ListeningContestant,
    ListeningQuestion,
    ListeningRater,
    ListeningTest,
)
from qlora_studio.db.models.model import BaseAudioModel
from qlora_studio.db.models.notification import Delivery, MailSent, Notification, NotificationChannel
from qlora_studio.db.models.queue import JobGroup, QueueState
from qlora_studio.db.models.rating import (
    CriterionTally,
    FeedbackDay,
    GenerationTally,
    PreferenceVote,
    PromptTally,
    Rating,
    RatingTally,
    ReadinessRule,
    TakeTally,
)
from qlora_studio.db.models.user import ApiToken, AuthSession, LoginFailure, PasswordReset, User

__all__ = [
    "Adapter",
    "ApiToken",
    "AuditEvent",
    "AuthSession",
    "BaseAudioModel",
    "Clip",
    "ClipChange",
    "ClipFinding",
    "Credential",
    "CriterionTally",
    "Dataset",
    "DatasetVersion",
    "Delivery",
    "Dictation",
    "Exclusion",
    "Favorite",
    "FeedbackDay",
    "Generation",
    "GenerationTag",
    "GenerationTally",
    "HubPush",
    "IdempotencyKey",
    "Job",
    "JobGroup",
    "JobSample",
    "ListeningCell",
    "ListeningContestant",
    "ListeningQuestion",
    "ListeningRater",
    "ListeningTest",
    "LoginFailure",
    "MailSent",
    "MarkState",
    "Notification",
    "NotificationChannel",
    "PasswordReset",
    "PreferenceVote",
    "PromptTally",
    "PromptTemplate",
    "QueueState",
    "Rating",
    "RatingTally",
    "ReadinessRule",
    "Take",
    "TakeTally",
    "Transcript",
    "User",
    "WizardDraft",
]
