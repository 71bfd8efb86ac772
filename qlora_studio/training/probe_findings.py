"""What a probe's figures mean, in sentences. Torch-free."""

from qlora_studio.contracts.probe import ProbeReport

_FAR = 1.5  # times the loss it should have …
_ABOVE = 0.5  # … and as many nats above it: wrong beyond doubt
_BELOW = 0.75  # of the expected loss
_HEAD_NOISE = 3.0  # times the expected loss: what a head drawn at random may add where its inputs are large
_TRAIN_APART = 4.0  # times the loss on held-out clips, which may be the longer or the clearer ones
_TOO_SHORT = 0.02  # of what the probe had to move weights to see an effect


def judge(report: ProbeReport, *, reach: float) -> ProbeReport:
    """Add the findings to a report and set its status; see `ProbeReport`.

    Args:
        reach: how far the job may move a weight at most, learning rates summed over its steps.
    """
    failures = [
        text for text in (_about_labels(report), _about_first_loss(report), _about_reach(report)) if text
    ]
    doubts = [
        text
        for text in (
            _about_nearness(report),
            _about_base(report),
            _about_missed(report),
            _about_overfit(report),
            _about_slip(report),
            _about_rate(report, reach),
        )
        if text
    ]
    report.status = "failed" if failures else "doubtful" if doubts else "passed"
    report.findings = failures or doubts
    return report


def _about_first_loss(report: ProbeReport) -> str:
    if report.first_loss is None:
        return "The loss of the first batch is not a number: check its clips and answers."
    limit = report.chance
    if limit is None or report.first_loss <= _FAR * limit + _ABOVE:
        return ""
    return (
        f"The first loss is {report.first_loss:.2f} where about {limit:.2f} is the most that makes sense: "
        "the labels have another layout than the model was made for. Check the labels and the model's files."
    )


def _about_labels(report: ProbeReport) -> str:
    if not report.misread:
        return ""
    return (
        f"Labels do not read back as the answers they stand for ({report.misread}): check the model's files."
    )


def _about_reach(report: ProbeReport) -> str:
    gradient = report.gradient
    if gradient is None or report.first_loss is None or gradient.n_reached:
        return ""
    return (
        "No gradient reaches any of the trained layers, so nothing can be learnt. "
        "Choose other target modules (auto is safe)."
    )


def _about_nearness(report: ProbeReport) -> str:
    first, expected = report.first_loss, report.expected
    if first is None or expected is None:
        return ""
    if first < _BELOW * expected:
        return (
            f"The first loss is {first:.2f}, yet a model that knows nothing starts at {expected:.2f}: "
            "the answers may be visible to it."
        )
    if first > _HEAD_NOISE * expected + _ABOVE:
        return (
            f"The first loss is {first:.2f}, where {expected:.2f} is expected of a model that knows nothing."
        )
    return ""


def _about_base(report: ProbeReport) -> str:
    train, base = report.train_loss, report.base_loss
    if train is None or base is None or train <= _TRAIN_APART * base + _ABOVE:
        return ""
    return (
        f"Training clips fit far worse than held-out ones (loss {train:.2f} against {base:.2f}): "
        "check the training clips' answers."
    )


def _about_missed(report: ProbeReport) -> str:
    gradient = report.gradient
    if gradient is None or not 0 < gradient.n_missed < gradient.n_layers:
        return ""
    some = ", ".join(gradient.missed[:3]) + (" …" if gradient.n_missed > 3 else "")
    return (
        f"No gradient reaches {gradient.n_missed} of {gradient.n_layers} trained layers ({some}): they will "
        "not learn. Leave them out of the target modules."
    )


def _about_overfit(report: ProbeReport) -> str:
    tried = report.overfit
    if tried is None or tried.is_clear is not False:
        return ""
    return (
        f"One batch cannot be learnt by heart: its loss only went from {tried.before:.2f} to "
        f"{tried.after:.2f} in {tried.steps} steps. Check clips and answers, or raise the rank."
    )


def _about_slip(report: ProbeReport) -> str:
    slip = report.slip
    if slip is None or not slip.verdict:
        return ""
    where = "before" if slip.verdict == "previous" else "after"
    fit = slip.previous if slip.verdict == "previous" else slip.following
    return (
        f"Clips fit the answers of the clips {where} them better than their own (loss {fit:.2f} against "
        f"{slip.own:.2f}): the answers seem to have slipped by one row. Check the dataset's table."
    )


def _about_rate(report: ProbeReport, reach: float) -> str:
    tried = report.overfit
    if tried is None or not tried.is_clear or reach >= _TOO_SHORT * tried.learning_rate * tried.steps:
        return ""
    return (
        "The learning rate is too small for so few steps to have an effect. Raise it (5e-4 suits most "
        "adapters) or train for longer."
    )
