"""One vocabulary of status words, used in the database, in events, in the API and on the page."""

from enum import StrEnum


class Role(StrEnum):
    ADMIN = "admin"
    TRAINER = "trainer"
    RATER = "rater"
    VIEWER = "viewer"


class Task(StrEnum):
    SPEECH_TO_TEXT = "speech-to-text"
    AUDIO_CLASSIFICATION = "audio-classification"
    SPEAKER_DIARIZATION = "speaker-diarization"
    TEXT_TO_AUDIO = "text-to-audio"


# The field of a clip that a task learns from; a task that isn't here needs none.
LEARNS_FROM = {
    Task.SPEECH_TO_TEXT: "text",
    Task.TEXT_TO_AUDIO: "text",
    Task.AUDIO_CLASSIFICATION: "label",
    Task.SPEAKER_DIARIZATION: "text",  # lines of RTTM
}


class DatasetStatus(StrEnum):
    AWAITING_FILES = "awaiting_files"
    PROCESSING = "processing"
    READY = "ready"
    ERROR = "error"


class ClipStatus(StrEnum):
    OK = "ok"
    EXCLUDED = "excluded"  # by a person; can be undone
    REJECTED = "rejected"  # could not be used; `reason` says why


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class ModelStatus(StrEnum):
    AWAITING_FILES = "awaiting_files"
    DOWNLOADING = "downloading"
    CHECKING = "checking"
    READY = "ready"
    ERROR = "error"


class TrainingType(StrEnum):
    QLORA = "qlora"
    LORA = "lora"
    PRETRAINING = "pretraining"
    PREFERENCE = "preference"


class JobStatus(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"


ACTIVE_STATUSES = (JobStatus.STARTING, JobStatus.RUNNING, JobStatus.STOPPING)
TERMINAL_STATUSES = (JobStatus.SUCCEEDED, JobStatus.STOPPED, JobStatus.FAILED, JobStatus.LOST)


class ExitReason(StrEnum):
    OK = "ok"
    USER_STOP = "user_stop"
    OOM_CUDA = "oom_cuda"
    OOM_HOST = "oom_host"
    NAN_LOSS = "nan_loss"
    DISK_FULL = "disk_full"
    BAD_DATA = "bad_data"
    MODEL_LOAD = "model_load"
    KILLED = "killed"
    HUNG = "hung"
    REBOOT = "reboot"
    INTERNAL = "internal"


class StopMode(StrEnum):
    SAVE = "save"
    KILL = "kill"


class GenerationStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class DictationStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    STOPPED = "stopped"
    FAILED = "failed"


class TokenScope(StrEnum):
    """What a token for scripts may do: look only, or all that its owner may."""

    READ = "read"
    ALL = "all"


class Sharing(StrEnum):
    """What others with an account here may do with somebody's thing, as far as their role goes."""

    PRIVATE = "private"
    READ = "read"  # look, listen, download
    USE = "use"  # train with it, too; of takes: rate and compare them


class Preference(StrEnum):
    """What a rater says of two takes. A skipped pair is not asked again, and prefers nothing."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    SKIP = "skip"


class ListeningStatus(StrEnum):
    MAKING = "making"  # its takes
    OPEN = "open"
    CLOSED = "closed"  # it stays readable
    FAILED = "failed"  # the takes could not be made; `error` says why


class Audience(StrEnum):
    """Who may take a listening test."""

    EVERYONE = "everyone"  # with an account here
    OWNER = "owner"


class QuestionKind(StrEnum):
    """Why a pair of a listening test is asked. Raters never learn it."""

    NEW = "new"
    REPEAT = "repeat"
    CATCH = "catch"


class AdapterStage(StrEnum):
    DRAFT = "draft"
    CANDIDATE = "candidate"
    PRODUCTION = "production"


class Verdict(StrEnum):
    """What an adapter does to its base model."""

    IMPROVED = "improved"
    NO_EFFECT = "no_effect"
    WORSE = "worse"
    BROKEN = "broken"
    UNMEASURED = "unmeasured"  # stopped before the end, or no held-out clips
