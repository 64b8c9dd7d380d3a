"""A source as a component: a folder of files, or another database, and one contract per raw table."""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import dagster as dg
from pydantic import Field, model_validator

from causal_assets.component import TemplateScaffolder, YamlComponent
from causal_assets.home import Home
from causal_assets.sources.contract import TableContract
from causal_assets.sources.landing import Delivery, RawTable, find_deliveries, load, replay
from causal_assets.warehouse.engine import Warehouse, identifier, literal
from causal_assets.warehouse.queries.losses import PROBLEM

ACCOUNTED = "rows_accounted_for"
SCHEMA = "schema_as_declared"


class Database(dg.Model, dg.Resolvable):
    """Another database that the engine can attach; its extension comes with the ``databases`` extra."""

    type: Literal["sqlite", "postgres"]
    address: str
    db_schema: str = "main"

    @property
    def attach(self) -> str:
        """SQL that makes the database readable as ``origin``."""
        from duckdb_extensions import import_extension

        extension = f"{self.type}_scanner"
        import_extension(extension)
        return f"LOAD {extension}; ATTACH IF NOT EXISTS {literal(self.address)} AS origin (TYPE {self.type}, READ_ONLY)"


class RawConfig(dg.Config):
    """Options of one load."""

    replay: bool = Field(default=False, description="Put quarantined rows through their contract again.")


@dg.scaffold_with(TemplateScaffolder)
class Source(YamlComponent, dg.Model, dg.Resolvable):
    """Raw tables from one source, named after the folder of its YAML file.

    Exactly one of ``folder`` (below the landing folder unless absolute), ``package`` (a folder of an installed Python
    package, as ``package:folder``) and ``database`` says where the rows come from.
    """

    tables: Annotated[dict[str, TableContract], Field(min_length=1)]
    folder: str | None = None
    package: str | None = None
    database: Database | None = None
    deps: Annotated[list[str], Field(default_factory=list)]

    @model_validator(mode="after")
    def _one_origin(self) -> "Source":
        given = [name for name in ("folder", "package", "database") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of folder, package, database must be given, got {given or 'none'}")
        return self

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset per raw table."""
        return dg.Definitions(assets=[self._asset(context.path.name, table) for table in self.tables])

    def deliveries(self, warehouse: Warehouse, table: str) -> list[Delivery]:
        """What has arrived for one table.

        Raises:
            FileNotFoundError: nothing has.
        """
        if self.database is not None:
            return [_database_delivery(warehouse, self.database, table)]
        if self.package is not None:
            package, _, folder = self.package.partition(":")
            return find_deliveries(Path(str(files(package))) / folder, table)
        return find_deliveries(Home.current().landing / (self.folder or ""), table)

    def _asset(self, source: str, table: str) -> dg.AssetsDefinition:
        raw = RawTable(source, table, self.tables[table])
        key = dg.AssetKey(["raw", f"{source}__{table}"])

        @dg.asset(
            key=key,
            group_name="raw",
            kinds={"duckdb"},
            deps=[dg.AssetKey(dep.split("/")) for dep in self.deps],
            code_version=raw.contract.hash[:12],
            description=raw.contract.grain,
            metadata={"grain": raw.contract.grain, "key": ", ".join(raw.contract.key) or "none declared"},
            check_specs=[
                dg.AssetCheckSpec(
                    ACCOUNTED, asset=key, blocking=True, description="in = accepted + quarantined + duplicates"
                ),
                dg.AssetCheckSpec(SCHEMA, asset=key, blocking=True, description="no column changed its type"),
            ],
        )
        def raw_table(config: RawConfig, warehouse: Warehouse) -> dg.MaterializeResult:
            attach = self.database.attach if self.database else None
            with warehouse.connect():  # held open: opening the file takes longer than most of what follows
                loaded = load(warehouse, raw, self.deliveries(warehouse, table), attach)
                replayed = replay(warehouse, raw) if config.replay else 0
                return _result(warehouse, raw, {"files loaded now": loaded, "rows replayed": replayed})

        return raw_table


def _result(warehouse: Warehouse, raw: RawTable, metadata: dict[str, int]) -> dg.MaterializeResult:
    (books,) = warehouse.rows(f"""
        SELECT
            sum(rows_in)::BIGINT AS rows_in, sum(duplicates)::BIGINT AS duplicates,
            list_sort(list_distinct(flatten(list(new_columns)))) AS new_columns,
            list_sort(list_distinct(flatten(list(changed_columns)))) AS changed_columns,
            md5(string_agg(content_hash || accepted, ',' ORDER BY content_hash)) AS version
        FROM raw.deliveries WHERE {raw.where}""")
    accepted, preview = warehouse.overview([raw.table])[raw.table]
    quarantined = warehouse.scalar(f"SELECT count(*) FROM raw.quarantine WHERE {raw.where}")
    counts = {
        "rows delivered": books["rows_in"],
        "rows accepted": accepted,
        "rows quarantined": quarantined,
        "duplicates dropped": books["duplicates"],
    }
    reasons = warehouse.rows(
        f"SELECT {PROBLEM} AS reason, count(*) AS n FROM raw.quarantine WHERE {raw.where} "
        f"GROUP BY ALL ORDER BY n DESC LIMIT 10"
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{raw.contract.hash[:12]}-{books['version']}"),
        metadata={
            "dagster/row_count": accepted,
            **counts,
            **metadata,
            "new columns (kept in _extra)": ", ".join(books["new_columns"]) or "none",
            "quarantine": {row["reason"]: row["n"] for row in reasons},
            "preview": dg.MetadataValue.md(preview),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=ACCOUNTED,
                passed=books["rows_in"] == accepted + quarantined + books["duplicates"],
                metadata=counts,
            ),
            dg.AssetCheckResult(
                check_name=SCHEMA,
                passed=not books["changed_columns"],
                metadata={"changed": ", ".join(books["changed_columns"]) or "none"},
            ),
        ],
    )


def _database_delivery(warehouse: Warehouse, database: Database, table: str) -> Delivery:
    """A table of another database as one delivery whose content hash does not depend on row order."""
    relation = f"origin.{identifier(database.db_schema)}.{identifier(table)}"
    with warehouse.connect() as connection:
        connection.execute(database.attach)
        columns = connection.execute(f"DESCRIBE {relation}").fetchall()
        digest = connection.execute(
            f"SELECT count(*), coalesce(sum(hash(t)::HUGEINT), 0) FROM {relation} AS t"
        ).fetchone()
    content = hashlib.sha256(repr((columns, digest)).encode()).hexdigest()
    numbered = f"(SELECT row_number() OVER () AS _row, * FROM {relation})"
    return Delivery(f"{database.type}:{table}", content, numbered, database.type)
