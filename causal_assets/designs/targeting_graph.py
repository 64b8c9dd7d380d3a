"""The graph of an uplift study: a model between the outcomes and the estimate, and a champion behind the decision."""

from typing import TYPE_CHECKING, ClassVar, cast

import dagster as dg

from causal_assets import registry
from causal_assets.designs import reporting
from causal_assets.designs.graph import StudyGraph
from causal_assets.home import Home
from causal_assets.ledger import Ledger
from causal_assets.protocol import hash_of
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
        return [*stages[:after], self.model(), *stages[after:], self.champion()]

    def model(self) -> dg.AssetsDefinition:
        """Fits, freezes and scores."""
        deps = [self._key("cohort"), self._key("outcomes")]

        @dg.asset(**self._spec("model", deps, "one row per unit of the cohort"), kinds={"python", "lightgbm"})
        @in_one_opening
        def model(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            """Who responds: the candidate that won, and what it says of every unit; learned once, when all is known."""
            self._require(warehouse, ledger, "cohort", "outcomes")
            metadata = self._targeted.write_model(warehouse, self.name, Home.current().models / self.name)
            result = reporting.table_result(warehouse, f"{self.name}.scored")
            self._seal(warehouse, ledger, "model", self._own("scored", result))
            return dg.MaterializeResult(
                data_version=result.data_version, metadata={**(result.metadata or {}), **metadata}
            )

        return model

    def champion(self) -> dg.AssetsDefinition:
        """Registers the model and makes it champion, if the rule says so."""
        deps = [self._key(stage) for stage in ("decision", "model", "estimate", "registration")]

        @dg.asset(**self._spec("champion", deps, "one row per change of champion"), kinds={"mlflow"})
        @in_one_opening
        def champion(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            """The model that may serve: this one as challenger, and promoted if evidence and its gain allow it."""
            self._require(warehouse, ledger, *self.read, "estimate", "evidence", "decision")
            ledger.require_registration(self.name, self.protocol)
            said = self._targeted.challenge(warehouse, self.name, Home.current(), self.protocol)
            registry.publish(warehouse, ledger, self.name)
            rows = registry.history(ledger, self.name)
            return dg.MaterializeResult(
                data_version=dg.DataVersion(hash_of([said, [row["entry"] for row in rows]])[:16]),
                metadata={**said, "changes of champion": len(rows)},
            )

        return champion

    @property
    def _targeted(self) -> "Targeted":
        return cast("Targeted", self.study)
