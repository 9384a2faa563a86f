"""Token-weighted vigintiles against DuckDB, and tags against the plan that they come from."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core import manifest
from dolma.core.errors import ConfigError, DataError
from dolma.pool.vigintiles import CUTS, plan_vigintiles, tag_vigintile
from tests.built import dataset

SCHEMA = pa.schema({"source": pa.string(), "topic": pa.string(), "quality": pa.float32(), "n_tokens": pa.int32(), "split": pa.string()})
ROW = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["web", "pdf"]), "topic": st.sampled_from([None, "art", "law"]),
        "quality": st.one_of(st.none(), st.integers(0, 12).map(lambda k: k / 8), st.floats(0, 1, width=32)),
        "n_tokens": st.integers(0, 5000), "split": st.sampled_from(["train", "train", "heldout"]),
    }
)  # fmt: skip
ROWS = st.lists(ROW, max_size=60)
DIVISORS = st.sampled_from([1, 2, 4, 5, 10, 20])
SQL = """
WITH equal AS (
    SELECT source, coalesce(topic, '') AS topic, quality, sum(n_tokens) AS tokens FROM rows WHERE quality IS NOT NULL AND split = 'train' GROUP BY ALL),
placed AS (
    SELECT *, sum(tokens) OVER (PARTITION BY source, topic) AS total,
        sum(tokens) OVER (PARTITION BY source, topic ORDER BY quality ROWS UNBOUNDED PRECEDING) - tokens AS before FROM equal)
SELECT source, topic, ((1 + least(before * $n // total, $n - 1)) * (20 // $n))::INTEGER AS vigintile,
    min(quality)::DOUBLE AS edge, sum(tokens)::BIGINT AS tokens
FROM placed WHERE total > 0 GROUP BY ALL ORDER BY ALL
"""


def table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist([{"split": "train", "topic": "art", "source": "web", **row} for row in rows], schema=SCHEMA)


def planned(rows: list[dict], size: int = 1000, **params) -> list[tuple]:
    made = plan_vigintiles(iter(table(rows).to_batches(max_chunksize=size)), folder=Path(), **params)
    assert made.schema == pa.schema(list(CUTS.items()))
    return [tuple(row.values()) for row in made.to_pylist()]


def scored(*pairs: tuple[float | None, int]) -> list[dict]:
    return [{"quality": quality, "n_tokens": tokens} for quality, tokens in pairs]


def tagged(folder: Path, cuts: list[tuple], rows: list[dict]) -> list[int]:
    columns = pa.Table.from_pylist([dict(zip(CUTS, row, strict=True)) for row in cuts], schema=pa.schema(list(CUTS.items())))
    dataset(folder, "pool/cuts", columns, kind="cut")
    batch = table(rows).combine_chunks().to_batches()
    return tag_vigintile(batch[0], cuts=str(folder / "pool/cuts")).column("vigintile").to_pylist() if batch else []


@settings(max_examples=40, deadline=None)
@given(ROWS, DIVISORS)
def test_cuts_equal_those_of_duckdb(rows: list[dict], n: int) -> None:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("rows", table(rows))
        assert planned(rows, num_buckets=n) == connection.execute(SQL, {"n": n}).fetchall()


@settings(max_examples=60, deadline=None)
@given(ROWS, DIVISORS, st.integers(1, 9), st.randoms(use_true_random=False))
def test_cuts_do_not_depend_on_batches_or_on_the_order_of_rows(rows: list[dict], n: int, size: int, random) -> None:
    expected = planned(rows, num_buckets=n)
    assert planned(random.sample(rows, len(rows)), size, num_buckets=n) == expected


@settings(max_examples=40, deadline=None)
@given(ROWS, DIVISORS)
def test_tags_put_into_each_bucket_the_tokens_that_the_plan_says(tmp_path_factory: pytest.TempPathFactory, rows: list[dict], n: int) -> None:
    cuts = planned(rows, num_buckets=n)
    tags = tagged(tmp_path_factory.mktemp("cuts"), cuts, rows)
    sums = {(source, topic, vigintile): 0 for source, topic, vigintile, _, _ in cuts}
    for row, vigintile in zip(rows, tags, strict=True):
        if vigintile and row["split"] == "train":
            sums[row["source"], row["topic"] or "", vigintile] += row["n_tokens"]
    assert sums == {tuple(cut[:3]): cut[4] for cut in cuts}
    for row, vigintile in zip(rows, tags, strict=True):
        assert (vigintile == 0) == (row["quality"] is None or not any(cut[:2] == (row["source"], row["topic"] or "") for cut in cuts))
        for other, high in zip(rows, tags, strict=True):
            if vigintile and high and (row["source"], row["topic"]) == (other["source"], other["topic"]) and row["quality"] <= other["quality"]:
                assert vigintile <= high


@pytest.mark.parametrize("n", [5, 20])
def test_buckets_of_different_scores_hold_equal_tokens_not_equal_documents(n: int) -> None:
    rows = scored(*((k / 1000, 10 if k < 500 else 30) for k in range(1000)))
    cuts = planned(rows, num_buckets=n)
    assert [cut[2] for cut in cuts] == list(range(20 // n, 21, 20 // n))
    assert all(abs(cut[4] - 20_000 / n) <= 30 for cut in cuts)  # within one document


def test_equal_scores_are_one_bucket() -> None:
    assert planned(scored((0.5, 10), (0.5, 20), (0.5, 30))) == [("web", "art", 1, 0.5, 60)]
    assert planned(scored((0.5, 10), (0.5, 70), (0.75, 20)), num_buckets=5) == [("web", "art", 4, 0.5, 80), ("web", "art", 20, 0.75, 20)]


def test_a_source_without_topics_is_cut_as_one() -> None:
    rows = [{"topic": topic, **row} for topic, row in zip((None, "", None, ""), scored((0.1, 1), (0.2, 1), (0.3, 1), (0.4, 1)), strict=True)]
    assert [cut[:3] for cut in planned(rows, num_buckets=4)] == [("web", "", vigintile) for vigintile in (5, 10, 15, 20)]


def test_the_best_document_is_in_the_bucket_where_it_begins() -> None:
    assert [cut[2] for cut in planned(scored((0.1, 30), (0.2, 70)))] == [1, 7]
    assert planned(scored((0.1, 0), (0.2, 0))) == []  # no tokens, no buckets


def test_held_out_and_unmeasured_documents_move_no_edge_but_are_tagged(tmp_path: Path) -> None:
    rows = scored(*((k / 100, 1) for k in range(50, 100)))
    extra = [{"quality": None, "n_tokens": 99}, {"quality": 0.25, "n_tokens": 99, "split": "heldout"}, {"quality": 2.0, "n_tokens": 99, "split": "heldout"}]
    cuts = planned(rows + extra, num_buckets=5)
    assert cuts == planned(rows, num_buckets=5) != planned(rows + extra, num_buckets=5, split=None)
    assert tagged(tmp_path, cuts, [*extra, {"topic": "law", "quality": 0.5, "n_tokens": 1}]) == [0, 4, 20, 0]


def test_a_score_on_the_edge_is_in_the_upper_bucket(tmp_path: Path) -> None:
    cuts = [("web", "art", 4, 0.25, 1), ("web", "art", 20, 0.5, 1)]
    assert tagged(tmp_path, cuts, scored((0.5, 1), (0.4999, 1), (0.25, 1), (0.0, 1))) == [20, 4, 4, 4]


def test_cuts_that_were_made_anew_are_read_anew(tmp_path: Path) -> None:
    rows = scored((0.5, 1))
    assert tagged(tmp_path, [("web", "art", 4, 0.0, 1)], rows) == [4]
    made = manifest.load(tmp_path / "pool/cuts")
    columns = pa.Table.from_pylist([dict(zip(CUTS, ("web", "art", 12, 0.0, 1), strict=True))], schema=pa.schema(list(CUTS.items())))
    again = dataset(tmp_path, "pool/cuts", columns, kind="cut")
    manifest.save(tmp_path / "pool/cuts", again.model_copy(update={"fingerprint": made.fingerprint[::-1]}))
    assert tag_vigintile(table(rows).to_batches()[0], cuts=str(tmp_path / "pool/cuts")).column("vigintile").to_pylist() == [12]


def test_nan_is_refused_by_the_name_of_its_column() -> None:
    with pytest.raises(DataError, match=r"plan_vigintiles: quality.*NaN"):
        planned(scored((0.5, 1), (float("nan"), 1)))


@pytest.mark.parametrize("n", [0, -5, 3, 7, 40])
def test_a_number_of_buckets_that_does_not_divide_twenty_is_refused(n: int) -> None:
    with pytest.raises(ConfigError, match=f"divide the 20 vigintiles\n  got {n},"):
        planned(scored((0.5, 1)), num_buckets=n)
