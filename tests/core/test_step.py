"""A step's parameters are its configuration; what it needs and adds is known before it runs."""

from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
from pydantic import ValidationError

from dolma import table
from dolma.core.step import REGISTRY, Asset, group_step, reader, reduce_step, step

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string())])


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of these tests are not there for the others."""
    monkeypatch.setattr("dolma.core.step.REGISTRY", dict(REGISTRY))


def test_keyword_parameters_are_the_configuration_and_strict() -> None:
    @step(needs=("text",), adds={"loud": pa.bool_()})
    def shout(batch: pa.RecordBatch, *, mark: Literal["!", "?"], times: int = 2, model: Asset | None = None) -> pa.RecordBatch:
        """Say it."""
        return batch

    assert shout.params(mark="!").model_dump() == {"mark": "!", "times": 2, "model": None}
    for wrong in ({}, {"mark": "."}, {"mark": "!", "tmes": 3}, {"mark": "!", "times": "many"}, {"mark": "!", "batch": 1}):
        with pytest.raises(ValidationError):
            shout.params(**wrong)
    with pytest.raises(ValidationError):
        shout.params(mark="!").times = 3  # type: ignore[attr-defined]
    assert (shout.name, shout.kind, shout.version, shout.doc) == ("shout", "map", 1, "Say it.")


def test_columns_are_added_edited_and_removed() -> None:
    @step(needs=lambda p: (p.column,), adds=lambda p: {p.column: pa.int32(), "n": pa.int64()}, removes=("id",))
    def shout(batch: pa.RecordBatch, *, column: str) -> pa.RecordBatch:
        return batch

    params = shout.params(column="text")
    assert shout.needs(params) == ("text",)
    assert shout.adds(params, SCHEMA) == pa.schema([("text", pa.int32()), ("n", pa.int64())])

    @step(adds={"n": pa.int64()}, removes=("*",))
    def lines(batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch

    assert lines.adds(lines.params(), SCHEMA) == pa.schema([("n", pa.int64())])


def test_packages_hang_on_the_parameters_or_do_not() -> None:
    @step(packages=("pyarrow",))
    def fixed(batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch

    @reduce_step(out={"n": pa.int64()}, packages=lambda p: (p.engine,))
    def chosen(batches: object, *, folder: Path, engine: str) -> pa.Table:
        return pa.table({"n": [1]})

    @reader(out={"n": pa.int64()})
    def none(path: str, *, file: str) -> object:
        return iter(())

    assert fixed.packages(fixed.params()) == ("pyarrow",)
    assert chosen.packages(chosen.params(engine="pymupdf")) == ("pymupdf",)
    assert none.packages(none.params()) == ()


def test_assets_are_the_parameters_that_name_a_dataset() -> None:
    @step()
    def shout(batch: pa.RecordBatch, *, model: Asset, name: str) -> pa.RecordBatch:
        return batch

    assert shout.assets == ("model",)


def test_what_the_worker_gives_is_no_parameter_of_a_recipe() -> None:
    def widened(batch: pa.RecordBatch, *, width: int = 3) -> pa.RecordBatch:
        return batch

    @group_step(key=("k",), order=("key",), out={"n": pa.int64()}, rows=widened)
    def pairs(batch, starts, *, cont: bool, size: int = 1):
        return batch

    @reduce_step(out={"n": pa.int64()})
    def total(batches, *, folder: Path, size: int = 1):
        return batches

    @reader(out=lambda p: dict.fromkeys(p.names, pa.string()), name="lines")
    def read(path, *, file: str, names: list[str]):
        yield from ()

    assert [list(one.params.model_fields) for one in (pairs, total)] == [["size", "width"], ["size"]]
    assert list(read.params.model_fields) == ["names"] and read.name == "lines"
    assert read.adds(read.params(names=["a"]), pa.schema([])).names == ["a"]
    assert (pairs.key, pairs.order, pairs.splittable) == (("k",), ("key",), False)


def test_two_steps_of_one_name_from_two_modules_are_a_fault() -> None:
    def keep(batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch

    assert REGISTRY["keep"] is table.keep
    with pytest.raises(AssertionError, match="two steps are called keep"):
        step()(keep)
