"""What the synthetic voices say: short office and telephone phrases from a small grammar of our own.

Four sorts are mixed: phrases from the grammar, words in random order (so that the model learns sounds and
not only our phrases), numbers, letters, dates and times, and single words. Nothing is copied from the example
dataset; `generate` leaves out every phrase of three words or more that also occurs there.
"""

import random
import re
from collections.abc import Collection, Iterator
from pathlib import Path

_FOLDER = Path(__file__).parent
WORDS = tuple((_FOLDER / "words.txt").read_text(encoding="utf-8").split())
DIGITS = "zero one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth fortieth fiftieth sixtieth "
    "seventieth eightieth ninetieth hundredth thousandth millionth"
).split()
# Capitals are read out as names of letters; the label is lower case all the same.
LETTERS = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
MONTHS = "january february march april may june july august september october november december".split()


def read_grammar(path: Path) -> dict[str, list[str]]:
    """Blocks of `[symbol]` with one alternative a line; `#` starts a remark, empty lines do not count."""
    lines: dict[str, list[str]] = {}
    symbol = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            symbol = line.strip("[]")
        elif line and not line.startswith("#"):
            lines.setdefault(symbol, []).append(line)
    return lines


GRAMMAR = read_grammar(_FOLDER / "grammar.txt")
_SYMBOL = re.compile(r"\{(\w+)\}")


def number(rng: random.Random) -> str:
    """A number below a billion as it is read out, small ones most often."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(DIGITS)
    if kind < 0.45:
        return rng.choice(TEENS)
    if kind < 0.6:
        return rng.choice(TENS)
    if kind < 0.8:
        return f"{rng.choice(TENS)} {rng.choice(DIGITS[1:])}"
    scale = rng.choice(["hundred", "hundred", "thousand", "million", "billion"])
    rest = rng.choice(["", "", f" {rng.choice(TENS)}", f" and {rng.choice(DIGITS[1:])}"])
    return f"{rng.choice(DIGITS[1:])} {scale}{rest}"


def clock(rng: random.Random) -> str:
    """A time of day."""
    hour = rng.choice(DIGITS[1:] + TEENS[:3])
    minutes = ["", "", "o'clock", rng.choice(TENS[:4]), f"oh {rng.choice(DIGITS[1:])}", "fifteen"]
    return " ".join(f"{hour} {rng.choice(minutes)} {rng.choice(['', '', 'A M', 'P M'])}".split())


def _terminal(symbol: str, rng: random.Random) -> str:
    match symbol:
        case "digit":
            return rng.choice(DIGITS)
        case "number":
            return number(rng)
        case "digits":
            return " ".join(rng.choices([*DIGITS, "oh"], k=rng.randint(3, 7)))
        case "spelled":
            return " ".join(rng.choices(LETTERS, k=rng.randint(2, 5)))
        case "ordinal":
            return rng.choice(ORDINALS)
        case "day":
            return rng.choice(DAYS)
        case "month":
            return rng.choice(MONTHS)
        case "clock":
            return clock(rng)
    raise KeyError(symbol)


def expand(symbol: str, rng: random.Random) -> str:
    """One random line of the grammar's `symbol` with everything in it written out."""
    if symbol not in GRAMMAR:
        return _terminal(symbol, rng)
    return _SYMBOL.sub(lambda match: expand(match[1], rng), rng.choice(GRAMMAR[symbol]))


def _counting(rng: random.Random) -> str:
    sort = rng.choice(["digits", "spelled", "number", "clock", "ordinal", "month", "day"])
    return " ".join(expand(sort, rng) for _ in range(rng.choice([1, 1, 2])))


def sentence(rng: random.Random) -> str:
    """One thing to say, of a randomly chosen sort; 1 to about 16 words."""
    kind = rng.random()
    if kind < 0.58:
        return expand("phrase", rng)
    if kind < 0.82:
        return " ".join(rng.choices(WORDS, k=rng.randint(2, 6)))
    if kind < 0.92:
        return _counting(rng)
    counted = DIGITS + TEENS + TENS
    return rng.choice([rng.choice(WORDS), rng.choice(WORDS), rng.choice(counted), rng.choice(LETTERS)])


def generate(n: int, *, seed: int, forbidden: Collection[str] = (), max_words: int = 14) -> Iterator[str]:
    """`n` sentences, the same for the same seed. Longer ones and those in `forbidden` are drawn again.

    Lower case, but for single letters to be spelled, which are capitals.

    Args:
        n: How many sentences; short ones may repeat.
        seed: Of the random choices.
        forbidden: Texts that must not occur (only those of three words or more are looked at).
        max_words: Longest sentence.
    """
    rng = random.Random(seed)
    barred = {text for text in forbidden if len(text.split()) >= 3}
    while n:
        text = sentence(rng)
        if len(text.split()) <= max_words and text.lower() not in barred:
            yield text
            n -= 1
