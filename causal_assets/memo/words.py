"""Numbers as a reader expects to see them: three significant digits, signs that print, intervals in words."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from math import floor, isinf, log10

MINUS = "\u2212"  # the typographic minus: a hyphen is lost at a line's end
SMALLEST_P = 0.001  # below this a p-value says no more than "very small"

Show = Callable[[float], str]


def number(x: float, *, money: bool = False, sign: bool = False) -> str:
    """``x`` with three significant digits and thousands separators.

    Money has cents below $100, and two digits where cents would hide it: ``$1,230``, ``$1.84``, ``$0.0041``.
    """
    if isinf(x):
        return "unbounded"
    digits = 2 if money and abs(x) < 1 else 3
    size = abs(float(f"{x:.{digits - 1}e}"))  # rounding first, or 99.96 would get the decimals of a two-digit number
    decimals = max(0, digits - 1 - floor(log10(size))) if size else 0
    if money and 1 <= size < 100:
        size, decimals = abs(x), 2
    whole, _, fraction = f"{size:,.{decimals}f}".partition(".")
    fraction = fraction.rstrip("0")
    if money and 0 < size < 100:
        fraction = f"{fraction:0<2}"
    text = f"{whole}.{fraction}" if fraction else whole
    prefix = MINUS if x < 0 else "+" if sign and x > 0 else ""
    return f"{prefix}{'$' if money else ''}{text}"


def shower(*, money: bool, sign: bool = False) -> Show:
    """``number`` for one outcome: its unit chosen once, then called with a value only."""
    return partial(number, money=money, sign=sign)


def percent(x: float) -> str:
    """A share as a signed percentage; 0.0412 is ``+4.12%``."""
    return f"{number(100 * x, sign=True)}%" if not isinf(x) else "unbounded"


def level(x: float) -> str:
    """A confidence level; 0.95 is ``95%``."""
    return f"{100 * x:.4g}%"


def p_value(p: float | None) -> str:
    """``p = 0.03``, or ``p < 0.001``; a posterior has none."""
    if p is None:
        return ""
    return f"p < {SMALLEST_P}" if p < SMALLEST_P else f"p = {p:.3g}"


def clause(text: str) -> str:
    """``, text``, or nothing where there is no text."""
    return f", {text}" if text else ""


def interval(low: float, high: float, show: Show) -> str:
    """``[low, high]`` in words; an end at infinity is said, never printed as a number."""
    match isinf(low), isinf(high):
        case True, True:
            return "unbounded in both directions"
        case True, False:
            return f"unbounded below, up to {show(high)}"
        case False, True:
            return f"{show(low)} or more, unbounded above"
        case _:
            return f"{show(low)} to {show(high)}"


def span(low: float, high: float, show: Show) -> str:
    """An interval that holds zero, as what it allows: ``a fall of $1.00 to a rise of $2.00``."""
    fall = "no change" if low == 0 else "a fall without bound" if isinf(low) else f"a fall of {show(-low)}"
    rise = "no change" if high == 0 else "a rise without bound" if isinf(high) else f"a rise of {show(high)}"
    return f"{fall} to {rise}"


def name(identifier: str) -> str:
    """``coupon_discount_8_weeks`` as a person says it: ``coupon discount in 8 weeks``."""
    cumulative = re.sub(r"_(\d+)_(days?|weeks?)$", r" in \1 \2", identifier)
    return re.sub(r"_(days|weeks)_(\d+)_(\d+)$", r" \1 \2–\3", cumulative).replace("_", " ")


def covariate(identifier: str) -> str:
    """``spend_28_0``, a metric over a window before assignment, as ``spend, 28–0 days before``."""
    window = re.fullmatch(r"(.+)_(all|\d+)_(\d+)", identifier)
    if not window:
        return name(identifier)
    metric, start, end = window.groups()
    return f"{name(metric)}, {f'until {end}' if start == 'all' else f'{start}–{end}'} days before"


def split_names(names: list[str]) -> tuple[str, list[str]]:
    """What names begin with and how they go on: ``spend`` and ``4 weeks`` of ``spend in 4 weeks``."""
    split = [name.split() for name in names]
    same = [len(set(column)) == 1 for column in zip(*split, strict=False)]
    cut = same.index(False) if False in same else 0
    if not all(any(map(str.isalpha, "".join(parts[cut:]))) for parts in split):
        cut = max(cut - 1, 0)  # a bare number says nothing: "week 1"
    return " ".join(split[0][:cut]).removesuffix(" in"), [" ".join(parts[cut:]) for parts in split]


def moment(iso: str) -> str:
    """An ISO 8601 time to the second, with its zone."""
    return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M:%S %Z}".strip()


def share(part: int, whole: int) -> str:
    """A part of a count as a percentage; ``0%`` of nothing."""
    return f"{number(100 * part / whole) if whole else 0}%"


def grammar(noun: str) -> list[tuple[str, str]]:
    """What the page's sentences make of a noun, and what English does: ``citys`` is ``cities``.

    >>> grammar("city"), grammar("election"), grammar("customer")
    ([('citys', 'cities')], [(' a election', ' an election')], [])
    """
    found = []
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        found.append((f"{noun}s", f"{noun[:-1]}ies"))
    if noun[0] in "aeio":  # an hour, a user: too few units begin so to be worth a dictionary
        found.append((f" a {noun}", f" an {noun}"))
    return found


def english(text: str, noun: str) -> str:
    """``text`` with what its sentences make of a noun put right."""
    for written, right in grammar(noun):
        text = text.replace(written, right)
    return text
