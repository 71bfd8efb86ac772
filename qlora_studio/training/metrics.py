"""Word and character error rates, raw and normalised; accuracy, macro F1 and confusions of classes."""

from collections.abc import Callable, Sequence

import jiwer

_ENGLISH_WORDS = frozenset("the of and you for that with your please this to is".split())
_ENGLISH_SHARE = 0.05


def error_rates(
    references: Sequence[str], outputs: Sequence[str], normalise: Callable[[str], str]
) -> dict[str, float | None]:
    """Return `wer`, `cer`, `wer_normalised` and `cer_normalised` over a set of clips.

    Errors are summed over all clips and divided by the words (characters) of all references, so a long clip
    weighs more than a short one. 1.0 is 100 %; insertions can push it above. None when there is nothing to
    compare with.
    """
    plain = [(" ".join(r.split()), " ".join(o.split())) for r, o in zip(references, outputs, strict=True)]
    normal = [(normalise(r).strip(), normalise(o).strip()) for r, o in plain]
    return {**_rates(plain, ""), **_rates(normal, "_normalised")}


def _rates(pairs: list[tuple[str, str]], suffix: str) -> dict[str, float | None]:
    pairs = [pair for pair in pairs if pair[0]]
    if not pairs:
        return {f"wer{suffix}": None, f"cer{suffix}": None}
    references = [pair[0] for pair in pairs]
    outputs = [pair[1] for pair in pairs]
    return {f"wer{suffix}": jiwer.wer(references, outputs), f"cer{suffix}": jiwer.cer(references, outputs)}


def word_error(reference: str, output: str) -> float | None:
    """Word error rate of one clip, or None for an empty reference."""
    return jiwer.wer(reference, output) if reference.strip() else None


def make_normaliser(texts: Sequence[str]) -> Callable[[str], str]:
    """Return Whisper's English normaliser if the texts look English, else its basic one.

    The choice is made from the texts alone, so the base model and every checkpoint are measured alike.
    """
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    # An empty spelling table: the tokenizer's own one is missing from many model folders.
    return EnglishTextNormalizer({}) if looks_english(texts) else BasicTextNormalizer()


def looks_english(texts: Sequence[str]) -> bool:
    """Whether at least one word in twenty is one of the commonest English ones."""
    words = [word.strip(".,!?;:").lower() for text in texts for word in text.split()]
    return sum(word in _ENGLISH_WORDS for word in words) >= _ENGLISH_SHARE * max(1, len(words))


def class_rates(targets: Sequence[str], outputs: Sequence[str]) -> dict[str, float | None]:
    """Return `accuracy` and `macro_f1` (fractions) over a set of clips, or None for an empty one.

    Macro F1 is the plain mean over all classes that occur among targets or outputs, so that rare ones count
    as much as common ones.
    """
    if not targets:
        return {"accuracy": None, "macro_f1": None}
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(targets, outputs)),
        "macro_f1": float(f1_score(targets, outputs, average="macro", zero_division=0)),
    }


def confusion_matrix(
    targets: Sequence[str], outputs: Sequence[str], classes: Sequence[str]
) -> list[list[int]]:
    """Return how many clips of each class (rows) were taken for each class (columns)."""
    from sklearn import metrics

    return metrics.confusion_matrix(targets, outputs, labels=list(classes)).tolist()
