"""``dg scaffold defs``: a new study or source starts from a commented template that loads as it is."""

from importlib.resources import files

import dagster as dg


class TemplateScaffolder(dg.Scaffolder):
    """Writes ``defs.yaml`` from the template named like the component."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """Write the template, with its type filled in."""
        template = files("causal_assets") / "templates" / f"{request.type_name.rpartition('.')[2]}.yaml"
        request.target_path.mkdir(parents=True, exist_ok=True)
        text = template.read_text(encoding="utf-8")
        (request.target_path / "defs.yaml").write_text(f"type: {request.type_name}\n{text}", encoding="utf-8")
