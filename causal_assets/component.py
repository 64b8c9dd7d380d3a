"""What our components share: they start from a template, and their mistakes name the file."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import dagster as dg
from pydantic import ValidationError

from causal_assets.home import PROJECT


class TemplateScaffolder(dg.Scaffolder):
    """Writes ``defs.yaml`` from the template named like the component."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """Write the template, with its type filled in."""
        template = files("causal_assets") / "templates" / f"{request.type_name.rpartition('.')[2]}.yaml"
        request.target_path.mkdir(parents=True, exist_ok=True)
        text = template.read_text(encoding="utf-8")
        (request.target_path / "defs.yaml").write_text(f"type: {request.type_name}\n{text}", encoding="utf-8")


class YamlComponent(dg.Component):
    """A component whose fields are a YAML file that people write by hand."""

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:
        """Build the component from its YAML.

        Raises:
            ValueError: what the file says does not fit together; Dagster names the line of a single wrong field, this
                names the file of the rest.
        """
        try:
            return super().load(attributes, context)
        except ValidationError as error:
            said = "; ".join(_sentence(one["loc"], one["msg"]) for one in error.errors())
            raise ValueError(f"{yaml_file(context)}: {said}") from None


def yaml_file(context: dg.ComponentLoadContext) -> Path:
    """The component's YAML, below the project where it is."""
    path = context.path / "defs.yaml"
    return path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path


def _sentence(place: tuple[int | str, ...], message: str) -> str:
    field = ".".join(str(part) for part in place)
    return f"{field}: {message}" if field else message.removeprefix("Value error, ")
