"""What the order of a study's entries in the ledger says: its versions, their deviations, and how far it confirms."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from causal_assets.ledger import Entry, Kind
from causal_assets.protocol import WORDS
from causal_assets.types import Deviation, Registration, Standing


def registrations(entries: Sequence[Entry]) -> list[Registration]:
    """The registered versions of one study's protocol from its ``entries``, oldest first; the last one is in force.

    Exploratory: a field that a stage reads was changed after the study's outcomes were first read, under whichever
    protocol. It stays so, even if the change is taken back: that too was chosen with the answer in view. A change of
    words alone (``protocol.WORDS``) is listed, but no number depends on it. Retrospective: not exploratory, but
    outcomes could exist before the analysis was settled, or when they began is not said. Else confirmatory.
    """
    found: list[Registration] = []
    deviations: tuple[Deviation, ...] = ()
    document: dict[str, Any] = {}
    seen, settled, exploratory = False, "", False
    for entry in entries:
        seen |= entry.kind is Kind.OUTCOMES_READ
        if entry.kind is not Kind.REGISTERED:
            continue
        own = tuple(_deviations(document, entry, seen)) if found else ()
        if not found or any(deviation.matters for deviation in own):
            settled, exploratory = entry.at, exploratory or seen
        document, deviations = entry.payload["document"], deviations + own
        found.append(
            Registration(
                version=len(found) + 1,
                protocol=entry.protocol,
                registered_at=entry.at,
                settled_at=settled,
                outcomes_begin=entry.payload["outcomes_begin"],
                standing=Standing.EXPLORATORY if exploratory else _on_time(settled, entry.payload["outcomes_begin"]),
                author=entry.payload["author"],
                commit=entry.payload["commit"],
                uncommitted=entry.payload["uncommitted"],
                assumptions=tuple(one["words"] for one in entry.payload["assumptions"]),
                deviations=deviations,
            )
        )
    return found


def first_read_at(entries: Sequence[Entry]) -> str | None:
    """When the study's outcomes were first read, under whichever protocol."""
    return next((entry.at for entry in entries if entry.kind is Kind.OUTCOMES_READ), None)


def beginning(day: str | None) -> datetime | None:
    """The first moment of a day, at which an outcome may exist."""
    return datetime.fromisoformat(f"{day}T00:00:00+00:00") if day else None


def _on_time(settled_at: str, day: str | None) -> Standing:
    begins = beginning(day)
    blind = begins is not None and datetime.fromisoformat(settled_at) <= begins
    return Standing.CONFIRMATORY if blind else Standing.RETROSPECTIVE


def _deviations(before: dict[str, Any], entry: Entry, seen: bool) -> Iterator[Deviation]:
    for path, old, new in changes(before, entry.payload["document"]):
        matters = path.partition(".")[0] not in WORDS
        yield Deviation(field=path, before=old, after=new, registered_at=entry.at, after_outcomes=seen, matters=matters)


def changes(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted path, value before and after of all that differs in two documents, in the order of their fields.

    Items of a list are told apart by their name, where they have one; a list without names is one value. A field that
    is not there and one that is None are the same.

    >>> list(changes({"rule": {"cost": 1, "value": 2}}, {"rule": {"cost": 3, "value": 2}}))
    [('rule.cost', 1, 3)]
    """
    if before == after:
        return
    old, new = _named(before), _named(after)
    if old is None or new is None:
        yield path, before, after
        return
    if isinstance(before, list) and old.keys() == new.keys() and list(old) != list(new):
        yield path, list(old), list(new)  # the order alone
    for name in {**old, **new}:
        yield from changes(old.get(name), new.get(name), f"{path}.{name}" if path else name)


def _named(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        return {item["name"]: item for item in value}
    return None
