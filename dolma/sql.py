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

from dolma import console, served, stats
from dolma.browse import quarantined
from dolma.core import counts as ledger
from dolma.core import manifest as manifests
from dolma.core.config import Env, read_yaml
from dolma.core.errors import ConfigError, EnvironmentFault
from dolma.core.log import logger
from dolma.core.manifest import File, Manifest
from dolma.engines import cost

if TYPE_CHECKING:
    import duckdb

log = logger(__name__)
OWN = {  # the views that are not a dataset, and what they hold
    "documents": "documents of the pool (of each source, while there is none), with n_tokens and vigintile",
    "measures": "what `dolma stats DATASET --what-if --save` kept: measures of every row, also of those dropped",
    "cells": "cells of each sharded dataset: streams, sequences, tokens, share of the dataset",
    "mixes": "streams of each mix: what the pool has, repeats, what is served, share of the mix",
    "served": "streams of each training stage by epoch: sequences the plan serves in a whole one, share of it that ran, what was served",
    "served_streams": "streams that each training stage opened: their number in served_rows, rows, repeats, updates of the stage and of an epoch",
    "served_rows": "each row that a training stage served: update, number of the stream, row in it",
    "shards": "files of each dataset",
    "manifests": "datasets: rows, tokens, bytes, files, fingerprint, recipe and facts as JSON",
    "counts": "ledgers: rows in, out, dropped by reason, quarantined, by step",
    "costs": "CPU seconds by unit of work and step",
    "quarantine": "rows that could not be read: place, step, reason",
    "stages": "held-out figures before and after each training stage",
    "updates": "log of each training stage, a row an update; `more` is JSON",
    "views": "this table",
}
RESERVED = tuple(OWN)
TEXT, INT, REAL = pa.string(), pa.int64(), pa.float64()
OF_CELL = {"source": TEXT, "topic": TEXT, "vigintile": INT, "lang": TEXT}  # what a stream is of; lang where streams are parted by language
JOINED = ("n_tokens", "vigintile")  # columns that documents get after their text is gone


def view(dataset: str) -> str:
    """The name of a dataset's view: `pool/documents` is pool_documents."""
    return "".join(letter if letter.isalnum() else "_" for letter in dataset)


@contextmanager
def connect(root: Path) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A locked connection with a view for each Parquet dataset below `root`, and those of OWN; view `views` lists them.

    Raises:
        ConfigError: two datasets would have the same view.
        EnvironmentFault: duckdb is not installed.
    """
    connection = _connection(root)
    try:
        yield connection
    finally:
        connection.close()


def _connection(root: Path) -> "duckdb.DuckDBPyConnection":
    try:
        import duckdb
    except ImportError as error:
        raise EnvironmentFault("dolma.sql", "duckdb is not installed", got="no duckdb", expected="duckdb>=1.3", mend="pip install duckdb") from error
    known = stats.datasets(root)
    _warn(known)
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "2GB"})
    try:
        shown = _datasets(connection, root, known)
        for name, table in _tables(root, known).items():
            connection.register(name, table)
        connection.execute(served.VIEW)
        _documents(connection, root, known, shown)
        _measures(connection, known, shown)
        _views(connection, known, shown)
        connection.execute("SET TimeZone='UTC'; SET enable_external_access=false; SET python_enable_replacements=false; SET lock_configuration=true")
    except BaseException:
        connection.close()
        raise
    return connection


def _datasets(connection: "duckdb.DuckDBPyConnection", root: Path, known: dict[str, Manifest]) -> dict[str, str]:
    """Register the Parquet datasets: view name by dataset. DuckDB hands columns and conditions down to Arrow: what a query does not name is not read."""
    taken: dict[str, str] = dict.fromkeys(RESERVED, "a view of its own")
    for name, manifest in known.items():
        if manifest.format == "parquet" and manifest.files and all(f.name.endswith(".parquet") for f in manifest.files):
            if view(name) in taken:
                raise ConfigError(name, f"two datasets would be the view {view(name)}", got=taken[view(name)], expected="one", mend="rename one of the recipes")
            taken[view(name)] = name
            paths = [str(manifests.shard(root / name, file)) for file in manifest.files]
            connection.register(view(name), ds.dataset(paths, format="parquet"))
    return {name: shown for shown, name in taken.items() if shown not in RESERVED}


def _documents(connection: "duckdb.DuckDBPyConnection", root: Path, known: dict[str, Manifest], shown: dict[str, str]) -> None:
    """The view `documents`. A join that gives a document one row at most is left out by DuckDB where its columns are not asked for."""
    heads = [name for name in stats.reached(known) if name in shown]
    if not heads:
        connection.register("documents", pa.schema({"dataset": TEXT, "id": TEXT, "key": INT, "source": TEXT, "text": TEXT}).empty_table())
        return
    beside = _beside(root, known, shown, heads[0]) if len(heads) == 1 else {}
    join, more = "", ""
    if beside:
        rows = " UNION ALL BY NAME ".join(f"SELECT key, {', '.join(names)} FROM {shown[of]}" for of, names in beside.items())
        names = [name for names in beside.values() for name in names]
        one = ", ".join(f"any_value({name}) AS {name}" for name in names)
        join = f" LEFT JOIN (SELECT key, {one} FROM ({rows}) GROUP BY key) AS beside USING (key)"
        more = "".join(f", beside.{name}" for name in names)
    parts = [f"SELECT {_quoted(name)} AS dataset, d.*{more} FROM {shown[name]} AS d{join}" for name in heads]
    connection.execute(f"CREATE TEMP VIEW documents AS {' UNION ALL BY NAME '.join(parts)}")


def _beside(root: Path, known: dict[str, Manifest], shown: dict[str, str], head: str) -> dict[str, list[str]]:
    """The datasets made from the documents that have the columns JOINED, as few as can be: DuckDB leaves out no more than one join."""
    has = {name: set(stats.columns(root, known[name])) for name in (head, *stats.offspring(known, head)) if name in shown}
    wanted = [name for name in JOINED if name not in has[head]]
    found: dict[str, list[str]] = {}
    for name in sorted(has, key=lambda name: -len(has[name] & set(wanted))) if "key" in has[head] else ():
        if "key" in has[name] and (more := [column for column in wanted if column in has[name]]):
            found[name] = more
            wanted = [column for column in wanted if column not in more]
    return found


def _measures(connection: "duckdb.DuckDBPyConnection", known: dict[str, Manifest], shown: dict[str, str]) -> None:
    saved = {name: str(m.recipe["measures_of"]) for name, m in known.items() if name in shown and "measures_of" in m.recipe and "copy_of" not in m.recipe}
    if not saved:
        columns = {"dataset": TEXT, "id": TEXT, "source": TEXT, "chars": INT, "dropped_by": TEXT, "fails": pa.list_(TEXT)}
        connection.register("measures", pa.schema(columns).empty_table())
        return
    parts = [f"SELECT {_quoted(of)} AS dataset, * FROM {shown[name]}" for name, of in saved.items()]
    connection.execute(f"CREATE TEMP VIEW measures AS {' UNION ALL BY NAME '.join(parts)}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _views(connection: "duckdb.DuckDBPyConnection", known: dict[str, Manifest], shown: dict[str, str]) -> None:
    """The view `views`: of each view what it holds, how many rows where that is known without a query, and its columns."""
    listed = "SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() WHERE NOT internal GROUP BY 1"
    columns = {**dict(connection.execute(listed).fetchall()), "views": ["view", "holds", "rows", "columns"]}
    datasets = {shown[name]: (f"dataset {name}: {known[name].table}", known[name].rows) for name in shown}
    rows = (
        [name, *datasets.get(name, (OWN.get(name), None)), ", ".join(has)]
        for name, has in sorted(columns.items(), key=lambda item: (item[0] not in OWN, item[0]))
    )
    connection.register("views", _table({"view": TEXT, "holds": TEXT, "rows": INT, "columns": TEXT}, rows))


def _warn(known: dict[str, Manifest]) -> None:
    """Say which saved measures are of a dataset as it no longer is."""
    for name, manifest in known.items():
        of = manifest.recipe.get("measures_of")
        if of in known and known[of].fingerprint != manifest.facts["of"]:
            log.warning("%s", f"{name} is of an earlier {of}: `dolma stats {of} --what-if --save` measures it anew")


def query(root: Path, text: str) -> pa.Table:
    """The result of one query.

    Raises:
        ConfigError: it is not one SELECT (or EXPLAIN, DESCRIBE, SHOW), or DuckDB refuses it.
    """
    with connect(root) as connection:
        return _ask(connection, text)


def _ask(connection: "duckdb.DuckDBPyConnection", text: str) -> pa.Table:
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


class Build:
    """The datasets below one root, to be asked more than once over one locked connection: for notebooks."""

    def __init__(self, root: Path) -> None:
        """Raises what `connect` does."""
        self.root = root
        self._connection = _connection(root)

    def query(self, text: str) -> pa.Table:
        """The result of one query; raises as `dolma.sql.query` does."""
        return _ask(self._connection, text)

    def columns(self, text: str) -> dict[str, list[Any]]:
        """The result of one query as lists by column name, for plots."""
        return self.query(text).to_pydict()

    def table(self, text: str) -> str:
        """The result of one query as aligned text, to print."""
        found = self.query(text)
        return console.table(found.column_names, zip(*(column.to_pylist() for column in found.columns), strict=True))

    def close(self) -> None:
        """Close the connection; the build cannot be asked any more."""
        self._connection.close()

    def __enter__(self) -> "Build":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open(place: str | Path, pipelines: Path | None = None) -> Build:
    """The build at `place`: a folder of datasets, the name of an env, or an env file.

    Args:
        pipelines: the folder of the recipes; by default the nearest `pipelines` in the working folder or above it.
    Raises:
        ConfigError: there is no such folder or env.
    """
    if Path(place).is_dir():
        return Build(Path(place).resolve())
    above = [folder / "pipelines" for folder in (Path.cwd(), *Path.cwd().parents)]
    pipelines = pipelines or next((folder for folder in above if (folder / "env").is_dir()), Path("pipelines"))
    file = Path(place) if str(place).endswith((".yaml", ".yml")) else pipelines / "env" / f"{place}.yaml"
    if not file.is_file():
        mend = "name a folder of datasets or an env; `dolma run --env tiny` makes build/tiny"
        raise ConfigError("dolma.sql.open", f"no build at `{place}`", got=str(place), expected=f"a folder, or {file}", mend=mend)
    root = pipelines.resolve().parent / read_yaml(file, Env).root
    if not root.is_dir():
        raise ConfigError(str(file), "nothing was built yet", got="no folder", expected=str(root), mend=f"dolma run pipelines --env {place}")
    return Build(root)


def views(connection: "duckdb.DuckDBPyConnection") -> list[str]:
    """The names of all views, sorted."""
    return sorted(str(row[0]) for row in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall())


def _tables(root: Path, known: dict[str, Manifest]) -> dict[str, Any]:
    runs = served.recorded(root, known)
    return {
        "served_rows": served.record(root, runs),
        "served_streams": _table({**served.PLAN, **OF_CELL, **served.SIZES}, _opened(root, known, runs)),
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
            {"dataset": TEXT, "name": TEXT, "rows": INT, "tokens": INT, "bytes": INT, "sha256": TEXT, "stream": TEXT, **OF_CELL},
            (
                [m.dataset, f.name, f.rows, f.tokens, f.bytes, f.sha256, _stream(m, f), *(f.extra.get(k) for k in OF_CELL)]
                for m in known.values()
                for f in m.files
            ),
        ),
        "counts": _table({"dataset": TEXT, "position": INT, "step": TEXT, "kind": TEXT, "reason": TEXT, "rows": INT}, _counts(known)),
        "costs": _table({"dataset": TEXT, "pass": TEXT, "unit": TEXT, "step": TEXT, "family": TEXT, "cpu": REAL}, _costs(root, known)),
        "cells": _table({"dataset": TEXT, **OF_CELL, "streams": INT, "sequences": INT, "tokens": INT, "share": REAL}, _cells(known)),
        "mixes": _table(
            {
                "mix": TEXT,
                "dataset": TEXT,
                "stream": TEXT,
                **OF_CELL,
                "pool_sequences": INT,
                "pool_tokens": INT,
                "repeats": REAL,
                "sequences": INT,
                "tokens": INT,
                "share": REAL,
            },
            _mixes(root, known),
        ),
        "updates": _table(
            {"stage": TEXT, "step": INT, "tokens": INT, **dict.fromkeys(stats.FIGURES, REAL), "batch": TEXT, "more": TEXT},
            ([u.stage, u.step, u.tokens, *u.figures.values(), u.batch, _json(u.more)] for u in stats.updates(root)),
        ),
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


def _streams(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Of each stream of a sharded dataset what it is of, its sequences and its tokens."""
    found: dict[str, dict[str, Any]] = {}
    for file in manifest.files if manifest.format == "mds" else ():
        row = found.setdefault(file.name.rpartition("/")[0], {**dict.fromkeys(OF_CELL), "sequences": 0, "tokens": 0})
        row.update({name: value for name, value in file.extra.items() if name in OF_CELL})
        row["sequences"] += file.rows
        row["tokens"] += file.tokens
    return found


def _cells(known: dict[str, Manifest]) -> Iterator[list[Any]]:
    for manifest in known.values():
        cells: dict[tuple[Any, ...], list[int]] = {}
        for row in _streams(manifest).values():
            cell = cells.setdefault(tuple(row[name] for name in OF_CELL), [0, 0, 0])
            cell[:] = [cell[0] + 1, cell[1] + row["sequences"], cell[2] + row["tokens"]]
        for cell, numbers in cells.items():
            yield [manifest.dataset, *cell, *numbers, numbers[2] / manifest.tokens if manifest.tokens else None]


def _mixes(root: Path, known: dict[str, Manifest]) -> Iterator[list[Any]]:
    pools = {name: _streams(manifest) for name, manifest in known.items()}
    for manifest in known.values():
        if manifest.table == "mix":
            rows = manifests.read(root / manifest.dataset).to_pylist()
            total = sum(row["tokens"] for row in rows)
            for row in rows:
                has = pools.get(row["dataset"], {}).get(row["stream"], {})
                cell = [row.get(name, has.get(name)) for name in OF_CELL]
                numbers = [has.get("sequences"), has.get("tokens"), row["repeats"], row["sequences"], row["tokens"]]
                yield [manifest.dataset, row["dataset"], row["stream"], *cell, *numbers, row["tokens"] / total if total else None]


def _opened(root: Path, known: dict[str, Manifest], runs: dict[str, Manifest]) -> Iterator[list[Any]]:
    pools = {name: _streams(manifest) for name, manifest in known.items() if manifest.format == "mds"}
    for row in served.plans(root, runs, known):
        of = dict(zip(served.PLAN, row, strict=False))
        cell = pools.get(of["dataset"], {}).get(of["stream"], {})
        yield [*row[: len(served.PLAN)], *(cell.get(name) for name in OF_CELL), *row[len(served.PLAN) :]]


def _stages(root: Path) -> Iterator[list[Any]]:
    for row in stats.stage_rows(root):
        yield [row.stage, row.metric, row.slice, row.before, row.after, row.n, row.chance]
