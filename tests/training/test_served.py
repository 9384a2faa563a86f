"""What a stage serves: counts of a mix are exact, the record is that of an unbroken run, and `dolma verify` finds what differs from the plan."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dolma import sql
from dolma.core import manifest as manifests
from dolma.core.files import sha256
from dolma.io import mds
from dolma.served import rows as lines
from dolma.verify import verify
from tests.training.conftest import LENGTH, write_dataset
from tests.training.processes import kill
from training import data, served
from training.cli import main

pytestmark = pytest.mark.slow
RATES = {"web/a": 0.0, "web/b": 0.5, "web/c": 1.0, "code/d": 2.7}
ROWS = {"web/a": 30, "web/b": 61, "web/c": 40, "code/d": 53, "wiki/e": 25}  # an epoch: 30 + 40 + 143 = 213, 26 updates of 8 and a rest of 5; no wiki/e
Table = Callable[..., None]


def _mix(root: Path, rates: dict[str, float], rows: dict[str, int], table: Table, name: str = "mix/pretrain", dataset: str = "shard/pool") -> None:
    table(root, name, "mix", [{"dataset": dataset, "stream": s, "repeats": r, "sequences": int(rows[s] * r), "tokens": 0} for s, r in rates.items()])


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one finished run of 1.5 epochs over the mix above."""
    from tests.training.conftest import write_table

    own = Path(copytree(root, tmp_path_factory.mktemp("served") / "root"))
    facts = manifests.load(own / "shard/pool").facts
    token = {name: [{"tokens": np.full(LENGTH, 10 + n, np.uint32)} for n in range(count)] for name, count in ROWS.items()}
    write_dataset(own, "shard/four", token, {"tokens": "ndarray:uint32"}, facts)
    _mix(own, RATES, ROWS, write_table, dataset="shard/four")
    assert main(["run", str(_stage(own)), "--root", str(own)]) == 0
    return own


def _stage(root: Path, **changes: Any) -> Path:
    stage: dict[str, Any] = {
        "stage": "pretrain",
        "data": {"manifest": "mix/pretrain"},
        "model": {"dims": {"d": 16, "layers": 1, "heads": 2, "kv_heads": 1, "ffn": 24, "window": 16}, "init": "random"},
        "objective": {"kind": "lm"},
        "optim": {"lr": 0.01, "schedule": {"kind": "constant"}},
        "batch": {"sequences": 8, "micro": 2},
        "length": {"duration": "39ba", "save_every": "13ba"},
        "precision": "fp32",
    }
    path = root / "pretrain.yaml"
    path.write_text(yaml.safe_dump({**stage, **changes}))
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that root to break."""
    return Path(copytree(trained, tmp_path / "root"))


def _edit(
    run: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], stage: str = "train/pretrain", name: str = "served/rows.parquet"
) -> None:
    """Change the record, and make manifest and hash fit it."""
    folder = run / stage
    old = pq.read_table(folder / name)
    new = change({column: old[column].to_numpy().copy() for column in old.column_names})
    pq.write_table(pa.table(new, schema=old.schema), folder / name)
    found = manifests.load(folder)
    fresh = {"rows": len(next(iter(new.values()))), "bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
    files = [file.model_copy(update=fresh) if file.name == name else file for file in found.files]
    manifests.save(folder, found.model_copy(update={"files": files, "bytes": sum(file.bytes for file in files)}))


def _error(run: Path, stage: str = "train/pretrain") -> str:
    errors = verify(run, stage).errors
    assert errors
    return str(errors[-1])


def test_one_and_a_half_epochs_serve_exactly_the_plan(trained: Path) -> None:
    verdict = verify(trained, "train/pretrain")
    assert not verdict.errors
    assert {(one.stream, one.rows, one.epoch) for one in verdict.served} == {(f"shard/four/{s}", ROWS[s], int(ROWS[s] * RATES[s])) for s in RATES if RATES[s]}
    assert lines(verdict.served)[-1][4:] == [39 * 8, 39 * 8, 0] and all(one.planned == one.served for one in verdict.served)
    record = pq.read_table(trained / "train/pretrain/served/rows.parquet").to_pylist()
    names = pq.read_table(trained / "train/pretrain/served/streams.parquet").to_pylist()
    assert Counter(row["update"] for row in record) == dict.fromkeys(range(1, 40), 8)
    epoch = Counter((names[row["stream"]]["stream"], row["row"]) for row in record if row["update"] <= 26)
    for stream, rate in RATES.items():
        times = [epoch[stream, row] for row in range(ROWS[stream])]
        assert max(times) <= np.ceil(rate) and int(ROWS[stream] * rate) - 5 <= sum(times) <= int(ROWS[stream] * rate)
    assert sum(epoch.values()) == 26 * 8
    labels = manifests.load(trained / "train/pretrain")
    assert labels.code["streaming"] == data.version() and {"served/rows.parquet", "served/streams.parquet"} <= {file.name for file in labels.files}


def test_verify_prints_the_table_and_says_what_is_wrong(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dolma.cli import main as dolma

    (run.parent / "pipelines/env").mkdir(parents=True)
    (run.parent / "pipelines/env/own.yaml").write_text(yaml.safe_dump({"root": str(run), "engine": "datatrove", "raw": str(run)}))
    arguments = ["verify", "train/pretrain", "--env", "own", "--pipelines", str(run.parent / "pipelines")]
    assert dolma(arguments) == 0
    said = capsys.readouterr().out
    assert "difference" in said and said.splitlines()[-1].split() == ["total", "154", "213", "312", "312", "0"]
    _edit(run, lambda record: {**record, "row": np.where(np.arange(312) == 100, (record["row"] + 1) % 40, record["row"])})
    assert dolma([*arguments, "--streams"]) == 3
    said = capsys.readouterr()
    assert "shard/four/web/b" in said.out and "update 13" in said.err


def test_an_edited_record_is_found_with_its_place(run: Path) -> None:
    def other_row(record: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        at = int(np.flatnonzero((record["update"] == 17) & (record["stream"] == 2))[0])
        record["row"][at] = (record["row"][at] + 1) % ROWS["code/d"]
        return record

    _edit(run, other_row)
    said = _error(run)
    assert "served/rows.parquet: update 17" in said and "other rows than the plan" in said and "code/d#" in said and "more updates" not in said


def test_a_skipped_batch_and_a_short_one_are_found(trained: Path, tmp_path: Path) -> None:
    for number, (keep, words) in enumerate(
        (
            (lambda update: update != 20, "an update is missing"),
            (lambda update: update != 39, "ends at another update"),
            (lambda update: (update != 30) | (np.cumsum(update == 30) > 3), "another number of rows"),
        )
    ):
        own = Path(copytree(trained, tmp_path / str(number)))
        _edit(own, lambda record, keep=keep: {name: column[keep(record["update"])] for name, column in record.items()})
        assert words in _error(own)


def test_a_row_of_no_stream_and_one_served_too_often_are_found(run: Path) -> None:
    _edit(run, lambda record: {**record, "row": np.where(record["stream"] == 0, record["row"] * 0, record["row"])})
    errors = [str(error) for error in verify(run, "train/pretrain").errors]
    assert "served more often in epoch 0" in errors[0] and "web/b#0" in errors[0] and "other rows" in errors[-1]
    _edit(run, lambda record: {**record, "row": record["row"] + 1000})
    assert "no such row" in _error(run)


def test_another_seed_and_another_mix_are_found(run: Path, table: Table) -> None:
    folder = run / "train/pretrain"
    found = manifests.load(folder)
    manifests.save(folder, found.model_copy(update={"recipe": {**found.recipe, "data": {**found.recipe["data"], "seed": 7}}}))
    assert "update 1" in _error(run) and "38 more updates" in _error(run)
    manifests.save(folder, found)
    assert not verify(run, "train/pretrain").errors
    _mix(run, {**RATES, "web/c": 1.5}, ROWS, table, dataset="shard/four")
    assert "mix/pretrain was made anew" in _error(run)
    mix = manifests.load(run / "mix/pretrain")
    inputs = [one.model_copy(update={"fingerprint": mix.fingerprint}) for one in found.inputs]
    manifests.save(folder, found.model_copy(update={"inputs": inputs}))  # a run that claims the other mix
    assert "update 1" in _error(run)


@pytest.mark.parametrize("stream", ["wiki/e", "web/a"], ids=["not in the mix", "no repeats"])
def test_a_stream_that_the_mix_leaves_out_is_not_served_and_is_named_if_it_was(run: Path, stream: str) -> None:
    assert any(file.name.startswith(f"{stream}/") for file in manifests.load(run / "shard/four").files)
    opened = pq.read_table(run / "train/pretrain/served/streams.parquet")["stream"].to_pylist()
    assert stream not in opened and not verify(run, "train/pretrain").errors
    other = {"stream": stream, "content": manifests.contents(manifests.load(run / "shard/four"))[stream]}

    def swapped(names: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**names, **{column: np.where(names["stream"] == "web/b", value, names[column]) for column, value in other.items()}}

    _edit(run, swapped, name="served/streams.parquet")
    said = _error(run)
    assert "a stream was served that the plan has not" in said and f"shard/four/{stream}" in said and "mix/pretrain" in said


def test_the_views_count_what_was_served_beside_what_was_planned(trained: Path) -> None:
    joined = "SELECT m.stream, m.sequences, s.epoch, s.ran, s.served FROM mixes m LEFT JOIN served s USING (mix, dataset, stream) WHERE mix = 'mix/pretrain'"
    record = pq.read_table(trained / "train/pretrain/served/rows.parquet").to_pylist()
    names = pq.read_table(trained / "train/pretrain/served/streams.parquet")["stream"].to_pylist()
    counted = Counter((names[row["stream"]], int(row["update"] > 26)) for row in record)
    with sql.open(trained) as db:
        rows = db.query(f"{joined} AND coalesce(stage = 'pretrain', true) ORDER BY ALL").to_pylist()
        planned = {stream: int(ROWS[stream] * rate) for stream, rate in RATES.items()}
        assert {(row["stream"], row["sequences"]) for row in rows} == set(planned.items())
        assert {(row["stream"], row["epoch"]): row["served"] for row in rows if row["epoch"] is not None} == counted and len(counted) == 6
        assert {row["stream"]: row["epoch"] for row in rows if row["served"] is None} == {"web/a": None}
        assert {row["epoch"]: row["ran"] for row in rows} == {0: 1.0, 1: 0.5, None: None}
        total = db.query("SELECT sum(served)::BIGINT AS n, sum(DISTINCT sequences)::BIGINT AS of FROM served WHERE stage = 'pretrain'").to_pylist()
        assert total == [{"n": 39 * 8, "of": sum(planned.values())}]
        every = db.query("SELECT update, stream, row FROM served_rows WHERE stage = 'pretrain' ORDER BY ALL")
        assert every.to_pylist() == record
        listed = db.columns("SELECT view, columns FROM views WHERE view LIKE 'served%' ORDER BY 1")
        assert listed["view"] == ["served", "served_rows", "served_streams"]


def test_a_stage_over_a_copy_of_shards_is_checked_against_the_copy(run: Path) -> None:
    copytree(run / "shard/four", run / "other/four")
    stage = _stage(run, data={"manifest": "other/four"}, length={"duration": "2ba", "save_every": "2ba"})
    assert main(["run", str(stage), "--root", str(run), "--out", "train/copy"]) == 0
    verdict = verify(run, "train/copy")
    assert not verdict.errors and sum(one.served for one in verdict.served) == 16
    assert {one.stream for one in verdict.served} == {f"other/four/{stream}" for stream in ROWS}
    copytree(run / "train/copy", run / "train/again")
    _edit(run, lambda record: {**record, "row": record["row"] + 1000}, "train/again")
    assert "train/again/served/rows.parquet" in _error(run, "train/again") and not verify(run, "train/copy").errors


def test_a_changed_file_is_found_before_it_is_read(run: Path) -> None:
    path = run / "train/pretrain/served/rows.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "bytes were changed" in _error(run)


def test_a_killed_run_has_the_record_of_the_unbroken_one(trained: Path, child: dict[str, str]) -> None:
    stage = _stage(trained, length={"duration": "52ba", "save_every": "26ba"})  # the checkpoint is at the end of an epoch
    kill("update", 30, ["run", str(stage), "--root", str(trained), "--out", "train/killed"], child)
    left = [path.name for path in served.parts(trained / "train/killed/_resume/served")]
    assert left == ["000000026.parquet"]
    assert main(["run", str(stage), "--root", str(trained), "--out", "train/killed"]) == 0
    assert main(["run", str(stage), "--root", str(trained), "--out", "train/whole"]) == 0
    for name in ("rows", "streams"):
        whole, killed = (trained / f"train/{run}/served/{name}.parquet" for run in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes()
    assert not verify(trained, "train/killed").errors


def test_pairs_and_rollouts_have_a_record_too(trained: Path, tmp_path: Path) -> None:
    start = {"init": {"run": "train/pretrain", "load": ["weights"]}}
    pairs = _stage(trained, data={"manifest": "shard/dpo"}, model=start, objective={"kind": "dpo", "beta": 5}, length={"duration": "2ep", "save_every": "1ep"})
    assert main(["run", str(pairs), "--root", str(trained), "--out", "train/dpo"]) == 0
    verdict = verify(trained, "train/dpo")
    assert not verdict.errors and [(one.planned, one.served) for one in verdict.served] == [(96, 96)]
    rlvr = {"kind": "rlvr", "group": 2, "max_new": 4, "reward": "random"}
    prompts = {"data": {"manifest": "shard/rlvr"}, "batch": {"sequences": 3}, "length": {"duration": "4ba", "save_every": "2ba"}}
    assert main(["run", str(_stage(trained, model=start, objective=rlvr, **prompts)), "--root", str(trained), "--out", "train/rlvr"]) == 0
    verdict = verify(trained, "train/rlvr")
    assert not verdict.errors and verdict.served[0].planned is None and 4 <= verdict.served[0].served <= 12
    with sql.open(trained) as db:
        seen = db.query("SELECT stage, stream, epoch, sequences, ran, served FROM served WHERE stage IN ('dpo', 'rlvr') ORDER BY 1, epoch").to_pylist()
    rollouts = ("rlvr", "prompts", None, 40, None, verdict.served[0].served)
    assert [tuple(row.values()) for row in seen] == [("dpo", "pairs", 0, 48, 1.0, 48), ("dpo", "pairs", 1, 48, 1.0, 48), rollouts]

    own = Path(copytree(trained, tmp_path / "root"))
    _edit(own, lambda record: {name: np.concatenate([column, column[-1:], column[-1:], column[-1:]]) for name, column in record.items()}, "train/rlvr")
    assert "update 4: an update has another number of prompts" in _error(own, "train/rlvr") and "at most 3" in _error(own, "train/rlvr")
    _edit(own, lambda record: {name: column[: np.searchsorted(record["update"], 4) + 1] for name, column in record.items()}, "train/rlvr")
    assert not verify(own, "train/rlvr").errors  # one prompt: the other groups may have taught nothing
    found = manifests.load(own / "train/rlvr")
    every = {**found.recipe, "objective": {**found.recipe["objective"], "filter_zero": False}}
    manifests.save(own / "train/rlvr", found.model_copy(update={"recipe": every}))
    assert "another number of prompts" in _error(own, "train/rlvr")
    _edit(own, lambda record: {**record, "row": record["row"] + 40}, "train/rlvr")
    assert "no such row" in _error(own, "train/rlvr")


def test_the_record_of_several_processes_is_one_record_and_is_cut_on_resume(tmp_path: Path) -> None:
    parts = [data.Part(tmp_path, rows, 1.0, "shard/x", name) for name, rows in (("a", 10), ("b", 5))]
    alone = served.Record(tmp_path / "one", parts, True, lambda mine: [mine])
    for step, index in ((1, [14, 3, 9, 10]), (2, [0, 11, 3, 2])):
        alone.add(step, np.array(index))
    alone.flush()
    halves = [[(1, np.array([14, 9])), (2, np.array([0, 3]))], [(1, np.array([3, 10])), (2, np.array([11, 2]))]]
    both = served.Record(tmp_path / "two", parts, True, lambda mine: halves)
    both.add(2, np.array([0]))
    both.flush()
    table = pq.read_table(tmp_path / "one/000000002.parquet")
    assert table.equals(pq.read_table(tmp_path / "two/000000002.parquet"))
    assert table.to_pydict() == {"update": [1] * 4 + [2] * 4, "stream": [0, 0, 1, 1, 0, 0, 0, 1], "row": [3, 9, 0, 4, 0, 2, 3, 1]}
    alone.add(3, np.array([1]))
    alone.flush()
    alone.resume(2)
    assert [path.name for path in served.parts(tmp_path / "one")] == ["000000002.parquet"]
    with pytest.raises(data.DataError, match="does not reach the checkpoint"):
        alone.resume(3)


def _copies(root: Path, sizes: list[int]) -> dict[str, int]:
    """A dataset of one stream for each size; streams of one size are copies of one folder."""
    there = {f"{n}": n for n in sorted(set(sizes))}
    facts: dict[str, object] = {"sequence_tokens": 4}
    write_dataset(root, "made", {name: [{"tokens": np.arange(4, dtype=np.uint32)}] * n for name, n in there.items()}, {"tokens": "ndarray:uint32"}, facts)
    found, files, rows = manifests.load(root / "made"), [], dict[str, int]()
    for number, size in enumerate(sizes):
        rows[name := f"web/{number}"] = size
        copytree(root / f"made/{size}", root / f"shard/many/{name}")
        files += [f.model_copy(update={"name": f"{name}/{Path(f.name).name}"}) for f in found.files if f.name.startswith(f"{size}/")]
    total = {"rows": sum(f.rows for f in files), "bytes": sum(f.bytes for f in files)}
    manifests.save(root / "shard/many", found.model_copy(update={"dataset": "shard/many", "files": files, **total}))
    return rows


def _epoch(root: Path, seed: int) -> None:
    """Read one epoch of the mix `mix/many`, and compare it with the plan and with the order that `dolma verify` computes."""
    source = data.find(root, "mix/many")
    opened = data.open_rows(source, batch=1, seed=seed)
    index = np.array([int(row["index"]) for row in opened])
    times, at = np.bincount(index, minlength=sum(part.rows for part in source.opened)), 0
    for part in source.opened:
        mine = times[at : at + part.rows]
        assert mine.sum() == int(part.rows * part.repeats) and set(mine.tolist()) <= {int(part.repeats), int(np.ceil(part.repeats))}
        at += part.rows
    planned = mds.order([[part.rows] for part in source.opened], [part.served for part in source.opened], update=1, seed=seed, epoch=0)
    assert (planned[:, 0] == index).all() and len(index) == source.rows


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    root = tmp_path_factory.mktemp("many")
    return root, _copies(root, [1, 2, 3, 5, 8, 13, 21, 34])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rates=st.lists(st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.7, 7.0]), st.floats(0, 7)), min_size=8, max_size=8).filter(any), seed=st.integers(0, 99))
def test_an_epoch_serves_any_repeats_exactly_and_in_the_order_that_verify_expects(
    many: tuple[Path, dict[str, int]], table: Table, rates: list[float], seed: int
) -> None:
    root, rows = many
    if sum(int(n * rate) for n, rate in zip(rows.values(), rates, strict=True)):
        _mix(root, dict(zip(rows, rates, strict=True)), rows, table, "mix/many", "shard/many")
        _epoch(root, seed)


def test_a_thousand_streams_are_served_exactly(tmp_path: Path, table: Table) -> None:
    rng = np.random.default_rng(5)
    rows = _copies(tmp_path, rng.integers(1, 7, 1000).tolist())
    _mix(tmp_path, dict(zip(rows, rng.uniform(0, 7, 1000).tolist(), strict=True)), rows, table, "mix/many", "shard/many")
    _epoch(tmp_path, 3)
