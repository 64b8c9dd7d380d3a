"""Runs every case and writes the dated table: ``make replicate`` (or some cases: ``... lalonde rd_senate``)."""

import math
import os
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from benchmarks.replication.data import deliver, prepare
from causal_assets.designs.table import TableStudy
from causal_assets.home import Home
from causal_assets.ledger import Ledger
from causal_assets.types import Estimate, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse

CASES = Path(__file__).parent / "cases"
TABLE = Path(__file__).parents[2] / "docs" / "replication.md"


@dataclass(frozen=True)
class Answer:
    """One published number beside ours; ``ours`` is None where the data are not at hand.

    ``known`` is why the two differ, where that is proven; such a number fails no run.
    """

    case: str
    quantity: str
    published: str
    ours: float | str | None
    tolerance: str
    source: str
    agrees: bool
    known: str | None = None

    def row(self) -> str:
        """The number as a line of the table."""
        ours = f"{self.ours:.6g}" if isinstance(self.ours, float) else self.ours or "data not at hand"
        gap = ""
        if isinstance(self.ours, float):
            gap = f"{self.ours - float(self.published):+.2g}"
        differs = f"no: {self.known}" if self.known else "**no**"
        verdict = "" if self.ours is None else "yes" if self.agrees else differs
        return (
            f"| {self.case} | {self.quantity} | {self.published} | {ours} | {gap} | {self.tolerance} "
            f"| {verdict} | {self.source} |"
        )


def study_of(case: str) -> TableStudy:
    """The case's study, from its YAML."""
    document = yaml.safe_load((CASES / case / "defs.yaml").read_text(encoding="utf-8"))
    module, _, name = document["type"].rpartition(".")
    return getattr(import_module(module), name).resolve_from_dict(document["attributes"])


def asked(case: str) -> list[dict[str, Any]]:
    """What was published about the case."""
    return yaml.safe_load((CASES / case / "published.yaml").read_text(encoding="utf-8"))


def run(case: str, home: Home) -> str | None:
    """Materialise all stages of a case; returns what went wrong, if anything did."""
    study = study_of(case)
    context = dg.ComponentTree.for_test().load_context.for_path(CASES / case)
    resources = {"warehouse": Warehouse(path=str(home.warehouse)), "ledger": Ledger(path=str(home.ledger))}
    shared = dg.Definitions(resources=resources, executor=dg.in_process_executor)
    definitions = dg.Definitions.merge(study.build_defs(context), shared)
    job = definitions.resolve_implicit_global_asset_job_def()
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, run_config=quiet, raise_on_error=False)
    if result.success:
        return None
    error = result.filter_events(lambda event: event.is_step_failure)[0].step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return "failed without a message" if error is None else error.message.strip()


def found(findings: list[tuple[Role, Estimate]], wanted: dict[str, str]) -> Estimate:
    """The one estimate that has the attributes wanted: of its role, or of the fields of an estimate.

    What the specification curve tries is found by its role only.
    """
    fits = [
        estimate
        for role, estimate in findings
        if (role is not Role.SPECIFICATION or "role" in wanted)
        and all((role.value if name == "role" else getattr(estimate, name)) == value for name, value in wanted.items())
    ]
    if len(fits) != 1:
        have = "; ".join(f"{role}/{e.outcome}/{e.estimand}/{e.method}" for role, e in findings)
        raise LookupError(f"{wanted} fits {len(fits)} findings of {have}")
    return fits[0]


def compared(case: str, one: dict[str, Any], warehouse: Warehouse) -> Answer:
    """One published number beside what the study wrote: an estimate's, or with ``check`` a diagnostic's."""
    named = {"case": case, "quantity": one["quantity"], "source": one["source"], "known": one.get("known")}
    checks = {d.name: d for d in results.read_diagnostics(warehouse, case)}
    if "status" in one:
        given = checks[one["check"]].status.value if one["check"] in checks else "did not apply"
        return Answer(
            **named, published=one["status"], ours=given, tolerance="exact", agrees=given in one["status"].split(" or ")
        )
    if "check" in one:
        ours = checks[one["check"]].value
    else:
        estimate = found(results.read_estimates(warehouse, case), one.get("find", {"role": "primary"}))
        ours = float(getattr(estimate, one.get("field", "value")))
    published = float(one["published"])
    absolute = "tolerance" in one
    allowed = one["tolerance"] if absolute else one["relative"] * abs(published)
    return Answer(
        **named,
        published=str(one["published"]),
        ours=ours,
        tolerance=f"{one['tolerance']:g}" if absolute else f"{one['relative']:g} relative",
        agrees=math.isclose(ours, published, rel_tol=0, abs_tol=allowed),
    )


def refused(case: str, one: dict[str, Any]) -> Answer:
    """A published number that the study rightly does not give."""
    named = {"case": case, "quantity": one["quantity"], "source": one["source"], "known": one["known"]}
    return Answer(**named, published=str(one["published"]), ours="refused", tolerance="", agrees=False)


def missing(case: str, one: dict[str, Any]) -> Answer:
    """A published number whose data are not at hand."""
    published = str(one.get("published", one.get("status")))
    return Answer(case, one["quantity"], published, None, "", one["source"], agrees=True)


def page(answers: list[Answer]) -> str:
    """The whole of ``docs/replication.md``."""
    head = [
        "# Replication",
        "",
        f"Written by `make replicate` on {datetime.now(UTC):%Y-%m-%d}. Every number went through a study's YAML "
        "(`benchmarks/replication/cases/<case>/defs.yaml`) and all its stages. Data come from packages of the "
        "registry, or from the folder named by `$PUBLISHED`.",
        "",
        "| case | quantity | published | ours | difference | tolerance | agrees | source |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(answer.row() for answer in answers), ""])


def main() -> None:
    """Run the cases named, or all, and write the table of all."""
    every = sorted(path.parent.name for path in CASES.glob("*/published.yaml"))
    chosen = sys.argv[1:] or every
    answers: list[Answer] = []
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CAUSAL_HOME"] = folder
        home = Home.current()
        if "PUBLISHED" not in os.environ:
            os.environ["PUBLISHED"] = str(home.root / "published_data")
            deliver(Path(os.environ["PUBLISHED"]))
        os.environ["PREPARED"] = str(home.root / "prepared_data")
        prepare(Path(os.environ["PUBLISHED"]), Path(os.environ["PREPARED"]))
        warehouse = Warehouse(path=str(home.warehouse))
        for case in chosen:
            table = Path(os.path.expandvars(study_of(case).table))
            if not table.exists():
                answers += [missing(case, one) for one in asked(case)]
                continue
            error = run(case, home)
            if error and all(one.get("refused", "\0") in error for one in asked(case)):
                answers += [refused(case, one) for one in asked(case)]
            elif error:
                broken.append(f"{case}: {error}")
                print(f"{case}: {error}")
            else:
                answers += [compared(case, one, warehouse) for one in asked(case)]
            print("\n".join(answer.row() for answer in answers if answer.case == case))
    if chosen == every and not broken:
        TABLE.write_text(page(answers), encoding="utf-8")
    wrong = [f"{answer.case}: {answer.quantity}" for answer in answers if not (answer.agrees or answer.known)]
    if wrong or broken:
        sys.exit(f"{len(wrong)} of {len(answers)} numbers disagree: {'; '.join([*wrong, *broken])}")


if __name__ == "__main__":
    main()
