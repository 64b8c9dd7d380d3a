"""All designs there are."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import causal_assets.designs as designs
from causal_assets.designs.study import Study


def every_design() -> list[type[Study]]:
    """All designs, in alphabetical order."""
    modules = [import_module(f"{designs.__name__}.{module.name}") for module in iter_modules(designs.__path__)]
    found = {
        design
        for module in modules
        for design in vars(module).values()
        if isinstance(design, type) and issubclass(design, Study) and "design" in vars(design)
    }
    return sorted(found, key=lambda design: design.__name__)


def study_of(kind: str, document: dict[str, Any]) -> Study:
    """The study that a registered protocol describes; ``kind`` is its design's class, as its YAML names it.

    Raises:
        LookupError: no such design, or a protocol that today's design reads as another one.
    """
    by_kind = {design.kind(): design for design in every_design()}
    if kind not in by_kind:
        raise LookupError(f"no design is called {kind!r}; there are {sorted(by_kind)}")
    fields = {name: value for name, value in document.items() if name != "design"}
    if fields.keys() != by_kind[kind].model_fields.keys():
        changed = sorted(fields.keys() ^ by_kind[kind].model_fields.keys())
        raise LookupError(f"{kind} has other fields now than when this was registered: {changed}")
    study = by_kind[kind].resolve_from_dict(fields)
    if study.protocol_document != document:
        raise LookupError(f"{kind} reads this protocol as another one now than when it was registered")
    return study
