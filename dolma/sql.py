"""The door to DuckDB for reading: every dataset is a view, nothing can be written, no file or address can be opened from SQL.

Views read through Arrow, so that DuckDB itself needs no file access at all and can be locked: external access off, configuration locked,
no Python variables, one statement that is a query.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from dolma import stats
from dolma.browse import quarantined
from dolma.core import counts as ledger
from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, EnvironmentFault
from dolma.core.manifest import File, Manifest
from dolma.engines import cost

if TYPE_CHECKING:
    import duckdb

RESERVED = ("manifests", "shards", "counts", "costs", "mixes", "stages", "quarantine")
TEXT, INT, REAL = pa.string(), pa.int64(), pa.float64()


def view(dataset: str) -> str:
    """The name of a dataset's view: `pool/documents` is pool_documents."""
    return "".join(letter if letter.isalnum() else "_" for letter in dataset)


@contextmanager
def connect(root: Path) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A locked connection with a view for each Parquet dataset below `root`, and the views manifests, shards, counts, costs, mixes, stages, quarantine.

    Raises:
        ConfigError: two datasets would have the same view.
        EnvironmentFault: duckdb is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise EnvironmentFault("dolma.sql", "duckdb is not installed", got="no duckdb", expected="duckdb>=1.3", mend="pip install duckdb") from error
    known = stats.datasets(root)
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "2GB"})
    try:
        taken: dict[str, str] = dict.fromkeys(RESERVED, "a view of its own")
        for name, manifest in known.items():
            if manifest.format == "parquet" and manifest.files and all(f.name.endswith(".parquet") for f in manifest.files):
                if view(name) in taken:
                    raise ConfigError(
                        name, f"two datasets would be the view {view(name)}", got=taken[view(name)], expected="one", mend="rename one of the recipes"
                    )
                taken[view(name)] = name
                paths = [str(manifests.shard(root / name, file)) for file in manifest.files]
                connection.register(view(name), ds.dataset(paths, format="parquet"))
        for name, table in _tables(root, known).items():
            connection.register(name, table)
        connection.execute("SET TimeZone='UTC'; SET enable_external_access=false; SET python_enable_replacements=false; SET lock_configuration=true")
        yield connection
    finally:
        connection.close()


def query(root: Path, text: str) -> pa.Table:
    """The result of one query.

    Raises:
        ConfigError: it is not one SELECT (or EXPLAIN, DESCRIBE, SHOW), or DuckDB refuses it.
    """
    with connect(root) as connection:
        import duckdb

        try:
            statements = duckdb.extract_statements(text)
            kinds = [str(statement.type).rpartition(".")[2] for statement in statements]
            if len(kinds) != 1 or kinds[0] not in ("SELECT", "SELECT_STATEMENT", "EXPLAIN"):
                raise ConfigError(
                    "sql", "only one query is run", got=", ".join(kinds) or "nothing", expected="one SELECT", mend="datasets are made by recipes, not by SQL"
                )
            return connection.sql(text).to_arrow_table()
        except duckdb.Error as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise ConfigError("sql", lines[0], got=text, expected="a query over the views", mend=f"views: {', '.join(views(connection))}") from error


def views(connection: "duckdb.DuckDBPyConnection") -> list[str]:
    """The names of all views, sorted."""
    return sorted(str(row[0]) for row in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall())


def _tables(root: Path, known: dict[str, Manifest]) -> dict[str, pa.Table]:
    return {
        "manifests": _table(
            {
                "dataset": TEXT,
                "table": TEXT,
                "format": TEXT,
                "rows": INT,
                "tokens": INT,
                "bytes": INT,
                "files": INT,
                "fingerprint": TEXT,
                "recipe": TEXT,
                "facts": TEXT,
            },
            ([m.dataset, m.table, m.format, m.rows, m.tokens, m.bytes, len(m.files), m.fingerprint, _json(m.recipe), _json(m.facts)] for m in known.values()),
        ),
        "shards": _table(
            {
                "dataset": TEXT,
                "name": TEXT,
                "rows": INT,
                "tokens": INT,
                "bytes": INT,
                "sha256": TEXT,
                "stream": TEXT,
                "source": TEXT,
                "topic": TEXT,
                "vigintile": INT,
            },
            (
                [m.dataset, f.name, f.rows, f.tokens, f.bytes, f.sha256, _stream(m, f), *(f.extra.get(k) for k in ("source", "topic", "vigintile"))]
                for m in known.values()
                for f in m.files
            ),
        ),
        "counts": _table({"dataset": TEXT, "position": INT, "step": TEXT, "kind": TEXT, "reason": TEXT, "rows": INT}, _counts(known)),
        "costs": _table({"dataset": TEXT, "pass": TEXT, "unit": TEXT, "step": TEXT, "family": TEXT, "cpu": REAL}, _costs(root, known)),
        "mixes": _table({"mix": TEXT, "dataset": TEXT, "stream": TEXT, "repeats": REAL, "sequences": INT, "tokens": INT}, _mixes(root, known)),
        "stages": _table({"stage": TEXT, "metric": TEXT, "slice": TEXT, "before": REAL, "after": REAL, "n": INT, "chance": REAL}, _stages(root)),
        "quarantine": _table(
            {"dataset": TEXT, "file": TEXT, "offset": INT, "id": TEXT, "step": TEXT, "reason": TEXT},
            ([q.dataset, q.file, q.offset, q.id, q.step, q.reason] for m in known.values() for q in quarantined(root, m)),
        ),
    }


def _table(columns: dict[str, pa.DataType], rows: Iterable[list[Any]]) -> pa.Table:
    values = list(rows)
    return pa.table({name: pa.array([row[i] for row in values], kind) for i, (name, kind) in enumerate(columns.items())})


def _json(value: dict[str, Any]) -> str:
    return manifests.canonical(value).decode()


def _stream(manifest: Manifest, file: File) -> str | None:
    return file.name.rpartition("/")[0] if manifest.format == "mds" else None


def _counts(known: dict[str, Manifest]) -> Iterator[list[Any]]:
    for manifest in known.values():
        for position, (step, numbers) in enumerate(ledger.steps(manifest.counts).items()):
            for what, rows in numbers.items():
                kind, _, reason = what.partition(".")
                yield [manifest.dataset, position, step, kind or None, reason or None, rows]


def _costs(root: Path, known: dict[str, Manifest]) -> Iterator[list[Any]]:
    """CPU seconds by unit and step, of datasets whose run measured them."""
    for manifest in known.values():
        line = cost.read(root / manifest.dataset, manifest.fingerprint) or {"measured": {}}
        for unit, value in line["measured"].items():
            for step, seconds in value["cpu"].items():
                yield [manifest.dataset, *unit.split("/"), step, line["families"].get(step, step), seconds]


def _mixes(root: Path, known: dict[str, Manifest]) -> Iterator[list[Any]]:
    for manifest in known.values():
        if manifest.table == "mix":
            for row in manifests.read(root / manifest.dataset).to_pylist():
                yield [manifest.dataset, row["dataset"], row["stream"], row["repeats"], row["sequences"], row["tokens"]]


def _stages(root: Path) -> Iterator[list[Any]]:
    for row in stats.stage_rows(root):
        yield [row.stage, row.metric, row.slice, row.before, row.after, row.n, row.chance]
