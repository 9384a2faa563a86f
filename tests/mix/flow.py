"""A pool of packed streams and mixes over it, as a flow that is run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from dolma.core.step import reader

LENGTH = 8  # tokens of a sequence
OUT = {
    "stream": pa.string(), "source": pa.string(), "topic": pa.string(), "vigintile": pa.int32(), "lang": pa.string(),
    "tokens": pa.large_list(pa.uint32()),
}  # fmt: skip


def _facts(**_: Any) -> dict[str, Any]:
    return {"sequence_tokens": LENGTH}


@reader(out=OUT)
def make_test_streams(path: str | None, *, file: str, cells: dict[str, int]) -> Iterator[pa.RecordBatch]:
    """As many sequences of each cell (`source/lang/topic/vigintile`, a dash for none) as `cells` says."""
    for stream, rows in sorted(cells.items()):
        source, lang, topic, vigintile = stream.split("/")
        columns = [stream, source, None if topic == "-" else topic, int(vigintile), None if lang == "-" else lang, [7] * LENGTH]
        yield pa.RecordBatch.from_pylist([dict(zip(OUT, columns, strict=True))] * rows, schema=pa.schema(OUT))


CELLS = {
    **{f"web/en/{topic}/{v}": size for topic, size in (("art", 40), ("law", 60)) for v in (4, 8, 12, 16, 20)},
    **{f"web/de/{topic}/{v}": 10 for topic in ("art", "law") for v in (4, 20)}, "code/-/-/0": 300, "wiki/-/-/0": 10,
}  # fmt: skip
PRETRAIN = {"tokens": 2000, "shares": {"web": 0.5, "code": 0.4, "wiki": 0.1}, "upsampling": {}}


def write_flow(folder: Path, cells: dict[str, int] | None = None, **mixes: dict[str, Any]) -> list[str]:
    """The recipes `shard/pool` and `mix/NAME` for each of `mixes` below `folder`; the options that name the flow."""
    made = {
        "shard/pool": {"uses": ["tests.mix.flow"], "read": {"make_test_streams": {"cells": cells or CELLS}}, "table": "sequence", "format": "mds", "steps": []}
    }
    made |= {f"mix/{name}": {"input": "shard/pool", "table": "mix", "steps": [{"plan_mix": params}]} for name, params in mixes.items()}
    for name, recipe in made.items():
        path = folder / "pipelines" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    env = folder / "env.yaml"
    env.write_text(yaml.safe_dump({"root": str(folder / "root"), "raw": str(folder / "raw"), "workers": 1}))
    (folder / "raw").mkdir(exist_ok=True)
    return ["--env", str(env), "--pipelines", str(folder / "pipelines")]
