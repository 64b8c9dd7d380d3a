"""Studies that adjust for covariates and may draw why: an optional causal graph, judged before any outcome is read."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from causal_assets.designs.study import Study
from causal_assets.estimators.causal_graph import TREATMENT, CausalGraph, independence_tests
from causal_assets.types import Diagnostic
from causal_assets.warehouse.engine import Warehouse


class DrawnStudy(Study):
    """A study whose protocol may say which covariate causes which, as in ``estimators.causal_graph``."""

    evidence_fields: ClassVar[tuple[str, ...]] = ("causal_graph",)

    causal_graph: Annotated[list[str], Field(default_factory=list)]

    @model_validator(mode="after")
    def _graph_fits(self) -> "DrawnStudy":
        if self.causal_graph:
            self._read_graph()
        return self

    def _read_graph(self) -> CausalGraph:
        return CausalGraph.read(self.causal_graph, self.primary.name, self.adjusted_names)

    @property
    def drawn(self) -> CausalGraph | None:
        """The graph, if there is one."""
        return self._read_graph() if self.causal_graph else None

    @property
    @abstractmethod
    def adjusted_names(self) -> Sequence[str]:
        """Covariates as the protocol names them; a text is one name, whatever its levels."""

    @abstractmethod
    def before_treatment(
        self, warehouse: Warehouse, study: str
    ) -> tuple[list[str], NDArray[np.float64], NDArray[np.bool_], NDArray[Any]]:
        """Columns (k) and covariates (n, k) of the cohort, ``name=level`` for texts; treated (n,) and unit (n,)."""

    def graph_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """What the graph says of the covariates, and the cohort of the graph; nothing where none is drawn."""
        from causal_assets.diagnostics.causal_graph import causal_graph

        graph = self.drawn
        if graph is None:
            return []
        names, x, treated, unit = self.before_treatment(warehouse, study)
        columns = {
            node: x[:, [k for k, name in enumerate(names) if name == node or name.startswith(f"{node}=")]]
            for node in self.adjusted_names
        }
        columns[TREATMENT] = treated[:, None].astype(np.float64)
        found = graph.adjustment()
        tested = {
            str(test.independence): (test.correlation, test.p_value)
            for test in independence_tests(graph.independences(), columns, unit)
        }
        return [causal_graph(found.descendants, found.open_paths, found.opened, found.sets, tested)]
