"""The graph of an uplift study: a model between the outcomes and the estimate."""

from typing import TYPE_CHECKING, ClassVar, cast

import dagster as dg

from causal_assets.designs import reporting
from causal_assets.designs.graph import StudyGraph
from causal_assets.ledger import Ledger
from causal_assets.warehouse.engine import Warehouse, in_one_opening

if TYPE_CHECKING:
    from causal_assets.designs.targeted import Targeted


class TargetingGraph(StudyGraph):
    """The shared stages, and the model that the estimate judges."""

    read: ClassVar[tuple[str, ...]] = ("cohort", "outcomes", "model")

    def assets(self) -> list[dg.AssetsDefinition]:
        """All stages, in order of flow."""
        stages = super().assets()
        after = [asset.key.path[-1] for asset in stages].index("outcomes") + 1
        return [*stages[:after], self.model(), *stages[after:]]

    def model(self) -> dg.AssetsDefinition:
        """Fits, freezes and scores."""
        deps = [self._key("cohort"), self._key("outcomes")]

        @dg.asset(**self._spec("model", deps, "one row per unit of the cohort"), kinds={"python", "lightgbm"})
        @in_one_opening
        def model(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            """Who responds: the candidate that won, and what it says of every unit; learned once, when all is known."""
            self._require(warehouse, ledger, "cohort", "outcomes")
            study = cast("Targeted", self.study)
            metadata = study.write_model(warehouse, self.name)
            result = reporting.table_result(warehouse, f"{self.name}.scored")
            self._seal(warehouse, ledger, "model", self._own("scored", result))
            return dg.MaterializeResult(
                data_version=result.data_version, metadata={**(result.metadata or {}), **metadata}
            )

        return model
