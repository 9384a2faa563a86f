"""A reduce step in this process, for what may be asked before a run: reduced streams of shards are a row each, so a mix is planned at once."""

import tempfile
from pathlib import Path

import pyarrow as pa

from dolma.core.errors import ConfigError, DolmaError, Errors
from dolma.core.recipe import Compiled
from dolma.engines import worker
from dolma.engines.ledger import Ledger
from dolma.engines.plan import Plan


def cheap(plan: Plan, compiled: Compiled) -> bool:
    """Whether a dataset is a reduce over nothing but streams of shards."""
    final, inputs = compiled.final, [shard for one in plan.passes for unit in one.units for shard in unit.inputs]
    reduces = final is not None and final.step.kind == "reduce" and not final.step.distributed
    return reduces and bool(inputs) and all(shard.file.extra.get("format") == "mds" for shard in inputs)


def result(plan: Plan, compiled: Compiled) -> pa.Table:
    """The table that a reduce step would give; nothing is written below the root."""
    assert compiled.final is not None
    (unit,) = next(one for one in plan.passes if one.kind == "reduce").units
    with tempfile.TemporaryDirectory() as folder:
        rows = worker.run_steps(plan, compiled, unit, Ledger(unit.name))
        made = compiled.final.step.fn(rows, folder=Path(folder), **compiled.final.arguments(Path(plan.root)))
    return made[0] if isinstance(made, tuple) else made


def refusals(plan: object, compiled: object) -> tuple[DolmaError, ...]:
    """Why a mix over shards that are there cannot be planned, each with the name of its dataset; none for what is not cheap to try."""
    if not isinstance(plan, Plan) or not isinstance(compiled, Compiled) or not cheap(plan, compiled):
        return ()
    try:
        result(plan, compiled)
    except Errors as errors:
        return tuple(_named(plan.dataset, error) for error in errors.errors)
    except ConfigError as error:
        return (_named(plan.dataset, error),)
    return ()


def _named(dataset: str, error: DolmaError) -> DolmaError:
    return type(error)(f"{dataset}: {error.where}", error.what, got=error.got, expected=error.expected, mend=error.mend)
