"""Token-weighted vigintiles against DuckDB, and tags against the plan that they come from."""

import json
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core import manifest
from dolma.core.errors import ConfigError, DataError
from dolma.engines.groups import whole_groups
from dolma.engines.shuffle import combined
from dolma.pool.bins import BINS, SHUFFLED, bin_quality
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
ROWS = st.lists(ROW, max_size=60).filter(lambda rows: any(r["quality"] is not None and r["n_tokens"] and r["split"] == "train" for r in rows))
FIRST, VIGINTILE, EDGE, TOKENS, OFF = (list(CUTS).index(name) for name in ("first", "vigintile", "edge", "tokens", "off"))
DIVISORS = st.sampled_from([1, 2, 4, 5, 10, 20])
SQL = """
WITH equal AS (
    SELECT source, coalesce(topic, '') AS topic, quality, sum(n_tokens) AS tokens, count(*) AS documents
    FROM rows WHERE quality IS NOT NULL AND split = 'train' GROUP BY ALL),
placed AS (
    SELECT *, sum(tokens) OVER (PARTITION BY source, topic) AS total,
        sum(tokens) OVER (PARTITION BY source, topic ORDER BY quality ROWS UNBOUNDED PRECEDING) - tokens AS before FROM equal),
buckets AS (
    SELECT source, topic, least(before * $n // total, $n - 1) AS place, min(quality)::DOUBLE AS edge, sum(documents)::BIGINT AS documents,
        sum(tokens)::BIGINT AS tokens
    FROM placed WHERE total > 0 GROUP BY ALL)
SELECT source, topic, (place * (20 // $n) + 1)::INTEGER AS first,
    (lead(place, 1, $n) OVER (PARTITION BY source, topic ORDER BY place) * (20 // $n))::INTEGER AS vigintile, edge, documents, tokens, 0 AS off
FROM buckets ORDER BY ALL
"""


def table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist([{"split": "train", "topic": "art", "source": "web", **row} for row in rows], schema=SCHEMA)


def planned(rows: list[dict] | pa.Table, size: int = 1000, **params) -> list[tuple]:
    whole = rows if isinstance(rows, pa.Table) else table(rows)
    with tempfile.TemporaryDirectory() as folder:
        made, _ = plan_vigintiles(iter(whole.to_batches(max_chunksize=size)), folder=Path(folder), **params)
        assert not list(Path(folder).iterdir())  # what lies there would become a file of the dataset
    assert made.schema == pa.schema(list(CUTS.items()))
    return [tuple(row.values()) for row in made.to_pylist()]


def names(cuts: list[tuple]) -> list[int]:
    return [cut[VIGINTILE] for cut in cuts]


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
    sums = {(*cut[:2], cut[VIGINTILE]): 0 for cut in cuts}
    for row, vigintile in zip(rows, tags, strict=True):
        if vigintile and row["split"] == "train":
            sums[row["source"], row["topic"] or "", vigintile] += row["n_tokens"]
    assert sums == {(*cut[:2], cut[VIGINTILE]): cut[TOKENS] for cut in cuts}
    for row, vigintile in zip(rows, tags, strict=True):
        assert (vigintile == 0) == (row["quality"] is None or not any(cut[:2] == (row["source"], row["topic"] or "") for cut in cuts))
        for other, high in zip(rows, tags, strict=True):
            if vigintile and high and (row["source"], row["topic"]) == (other["source"], other["topic"]) and row["quality"] <= other["quality"]:
                assert vigintile <= high


@pytest.mark.parametrize("n", [5, 20])
def test_buckets_of_different_scores_hold_equal_tokens_not_equal_documents(n: int) -> None:
    rows = scored(*((k / 1000, 10 if k < 500 else 30) for k in range(1000)))
    cuts = planned(rows, num_buckets=n)
    assert names(cuts) == list(range(20 // n, 21, 20 // n))
    assert all(abs(cut[TOKENS] - 20_000 / n) <= 30 for cut in cuts)  # within one document


def test_equal_scores_are_one_bucket_that_says_what_it_covers(caplog: pytest.LogCaptureFixture) -> None:
    assert planned(scored((0.5, 10), (0.5, 20), (0.5, 30))) == [("web", "art", 1, 20, 0.5, 3, 60, 0)]
    assert "one bucket, 1 to 20, where one score has nearly all tokens: web/art" in caplog.text
    rows = scored((0.5, 10), (0.5, 70), (0.75, 20))
    assert planned(rows, num_buckets=5) == [("web", "art", 1, 16, 0.5, 2, 80, 0), ("web", "art", 17, 20, 0.75, 1, 20, 0)]


@settings(max_examples=40, deadline=None)
@given(ROWS, DIVISORS)
def test_buckets_of_a_topic_cover_all_vigintiles_and_the_best_is_20(rows: list[dict], n: int) -> None:
    cuts = planned(rows, num_buckets=n)
    for topic in {cut[:2] for cut in cuts}:
        mine = [cut for cut in cuts if cut[:2] == topic]
        assert [v for cut in mine for v in range(cut[FIRST], cut[VIGINTILE] + 1)] == list(range(1, 21))
        edges = [cut[EDGE] for cut in mine]
        assert edges == sorted(set(edges))


def test_a_source_without_topics_is_cut_as_one() -> None:
    rows = [{"topic": topic, **row} for topic, row in zip((None, "", None, ""), scored((0.1, 1), (0.2, 1), (0.3, 1), (0.4, 1)), strict=True)]
    assert [cut[:4] for cut in planned(rows, num_buckets=4)] == [("web", "", vigintile - 4, vigintile) for vigintile in (5, 10, 15, 20)]


def test_a_large_document_covers_the_vigintiles_that_it_fills() -> None:
    assert [cut[FIRST : VIGINTILE + 1] for cut in planned(scored((0.1, 30), (0.2, 70)))] == [(1, 6), (7, 20)]


def test_held_out_and_unmeasured_documents_move_no_edge_but_are_tagged(tmp_path: Path) -> None:
    rows = scored(*((k / 100, 1) for k in range(50, 100)))
    extra = [{"quality": None, "n_tokens": 99}, {"quality": 0.25, "n_tokens": 99, "split": "heldout"}, {"quality": 2.0, "n_tokens": 99, "split": "heldout"}]
    cuts = planned(rows + extra, num_buckets=5)
    assert cuts == planned(rows, num_buckets=5) != planned(rows + extra, num_buckets=5, split=None)
    assert tagged(tmp_path, cuts, [*extra, {"topic": "law", "quality": 0.5, "n_tokens": 1}]) == [0, 4, 20, 0]


def test_a_score_on_the_edge_is_in_the_upper_bucket(tmp_path: Path) -> None:
    cuts = [("web", "art", 1, 4, 0.25, 1, 1, 0), ("web", "art", 5, 20, 0.5, 1, 1, 0)]
    assert tagged(tmp_path, cuts, scored((0.5, 1), (0.4999, 1), (0.25, 1), (0.0, 1))) == [20, 4, 4, 4]


def test_cuts_that_were_made_anew_are_read_anew(tmp_path: Path) -> None:
    rows = scored((0.5, 1))
    assert tagged(tmp_path, [("web", "art", 1, 4, 0.0, 1, 1, 0)], rows) == [4]
    made = manifest.load(tmp_path / "pool/cuts")
    columns = pa.Table.from_pylist([dict(zip(CUTS, ("web", "art", 1, 12, 0.0, 1, 1, 0), strict=True))], schema=pa.schema(list(CUTS.items())))
    again = dataset(tmp_path, "pool/cuts", columns, kind="cut")
    manifest.save(tmp_path / "pool/cuts", again.model_copy(update={"fingerprint": made.fingerprint[::-1]}))
    assert tag_vigintile(table(rows).to_batches()[0], cuts=str(tmp_path / "pool/cuts")).column("vigintile").to_pylist() == [12]


@pytest.mark.parametrize("histogram", [False, True])
@pytest.mark.parametrize(("row", "fault"), [((float("nan"), 1), "quality.*NaN"), ((0.5, -1), "n_tokens.*-1")])
def test_what_is_no_measure_is_refused_by_the_name_of_its_column(histogram: bool, row: tuple[float, int], fault: str) -> None:
    rows = scored((0.5, 1), row)
    with pytest.raises(DataError, match=f"(?s){'bin_quality' if histogram else 'plan_vigintiles'}: {fault}"):
        planned(binned(rows) if histogram else rows)


def test_a_document_without_quality_or_tokens_does_not_count() -> None:
    rows = scored((0.25, 1), (0.5, 1))
    assert planned([*rows, *scored((None, 9), (0.75, None))]) == planned(rows)  # type: ignore[arg-type]


def binned(rows: list[dict], parts: int = 1, bins: int = 65_536, size: int = 1000, **params) -> pa.Table:
    """The histogram of `rows` as the engine makes it: of parts that are combined by themselves and then gathered."""
    params = {"bins": bins, "low": 0.0, "high": 1.0, "split": "train", **params}
    assert bin_quality.rows is not None and bin_quality.combine is not None
    scattered = []
    for number in range(parts):
        part = table(rows[number::parts]).append_column("origin", pa.array(range(len(rows[number::parts])), pa.int64()))
        made = [bin_quality.rows(batch, **params) for batch in [*part.to_batches(max_chunksize=size), *part.slice(0, 0).combine_chunks().to_batches()]]
        scattered += [shifted(batch, number) for batch in combined(made, bin_quality.combine)]
    whole = pa.Table.from_batches(scattered, schema=SHUFFLED).sort_by([(name, "ascending") for name in ("topic_key", "bin", "origin")])
    groups = list(whole_groups(whole.combine_chunks().to_batches(), ("topic_key", "bin"), 10**6, False, "test"))
    return pa.Table.from_batches([bin_quality(batch, starts, cont=cont, **params) for batch, starts, cont in groups], schema=pa.schema(list(BINS.items())))


def shifted(batch: pa.RecordBatch, shard: int) -> pa.RecordBatch:
    place = SHUFFLED.names.index("origin")
    return batch.set_column(place, "origin", pa.array([(shard << 32) + origin for origin in batch.column("origin").to_pylist()], pa.int64()))


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(1, 5), st.integers(1, 9), st.sampled_from([1, 7, 65_536]), st.randoms(use_true_random=False))
def test_a_histogram_does_not_depend_on_parts_batches_or_order(rows: list[dict], parts: int, size: int, bins: int, random) -> None:
    expected = binned(rows, bins=bins)
    assert binned(random.sample(rows, len(rows)), parts, bins, size).equals(expected)
    counted = [row for row in rows if row["split"] == "train" and row["quality"] is not None]
    assert sum(expected["n_tokens"].to_pylist()) == sum(row["n_tokens"] for row in counted)
    assert sum(expected["n_documents"].to_pylist()) == len(counted)


@settings(max_examples=60, deadline=None)
@given(ROWS, DIVISORS, st.sampled_from([1, 2, 7, 30, 65_536]), st.integers(1, 3))
def test_buckets_of_a_histogram_differ_from_exact_ones_by_no_more_than_they_say(rows: list[dict], n: int, bins: int, parts: int) -> None:
    rough = planned(binned(rows, parts, bins), num_buckets=n)
    exact = {(*cut[:2], cut[VIGINTILE]): cut[TOKENS] for cut in planned(rows, num_buckets=n)}
    there = {(*cut[:2], cut[VIGINTILE]): cut[TOKENS] for cut in rough}
    most = {(*cut[:2], v): cut[OFF] for cut in rough for v in range(cut[FIRST], cut[VIGINTILE] + 1)}
    assert {name[:2] for name in exact} == {name[:2] for name in there}
    for name in exact.keys() | there.keys():
        assert abs(exact.get(name, 0) - there.get(name, 0)) <= most[name], name


def test_a_histogram_of_one_score_a_bin_gives_exact_cuts() -> None:
    rows = scored(*((k / 64, 1 + k % 7) for k in range(64)))
    assert planned(binned(rows, 3)) == planned(rows)
    coarse = planned(binned(rows, bins=4))
    assert coarse != planned(rows) and max(cut[OFF] for cut in coarse) > 0


def test_histograms_of_two_deliveries_are_added_by_the_plan() -> None:
    rows = scored(*((k / 257, 1 + k % 7) for k in range(257)))
    added = pa.concat_tables([binned(rows[::2], bins=50), binned(rows[1::2], bins=50)])
    assert planned(added) == planned(binned(rows, bins=50))


def test_scores_out_of_range_are_in_the_first_and_the_last_bin() -> None:
    made = binned(scored((-3.0, 1), (0.0, 2), (0.999, 4), (1.0, 8), (7.5, 16)), bins=10)
    assert list(zip(*(made[name].to_pylist() for name in ("bin", "quality", "quality_max", "n_tokens")), strict=True)) == [
        (0, -3, 0, 3),
        (9, 0.9990000128746033, 7.5, 28),
    ]
    with pytest.raises(ConfigError, match="no bins"):
        binned(scored((0.5, 1)), bins=0)


def test_buckets_can_be_joined_as_in_the_published_pool(spec: Path) -> None:
    names_of: dict[str, list[int]] = {}
    for row in json.loads((spec / "pool_web_tokens.json").read_text()):
        names_of.setdefault(row["topic"], []).append(row["vigintile"])
    rows = [{"topic": topic, **row} for topic in names_of for row in scored(*((k / 400, 10) for k in range(400)))]
    cuts = planned(rows, highest=19, lowest_of={topic: min(there) for topic, there in names_of.items()})
    assert len(cuts) == 387
    assert {(cut[1], cut[VIGINTILE]) for cut in cuts} == {(topic, name) for topic, there in names_of.items() for name in there}


def test_joined_buckets_hold_what_their_parts_held() -> None:
    rows = scored(*((k / 100, 10) for k in range(100)))
    cuts = planned(rows, lowest=4, highest=18)
    assert [cut[FIRST : VIGINTILE + 1] for cut in cuts] == [(1, 4), *((v, v) for v in range(5, 18)), (18, 20)]
    assert [cut[TOKENS] for cut in cuts] == [200, *[50] * 13, 150] and cuts[0][EDGE] == 0


@pytest.mark.parametrize(("tokens", "expected"), [([10, 10, 10, 10], [(1, 5), (6, 10), (11, 15), (16, 20)]), ([4, 16, 12, 8], [(1, 10), (11, 20)])])
def test_a_bucket_with_few_tokens_joins_its_better_neighbour(tokens: list[int], expected: list[tuple[int, int]]) -> None:
    cuts = planned(scored(*((k / 4, count) for k, count in enumerate(tokens))), num_buckets=4, min_tokens=10)
    assert [cut[FIRST : VIGINTILE + 1] for cut in cuts] == expected


@pytest.mark.parametrize("wrong", [{"lowest": 0}, {"lowest": 20}, {"highest": 21}, {"lowest": 5, "highest": 5}, {"lowest_of": {"art": 20}}])
def test_joins_that_leave_nothing_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="must lie below"):
        planned(scored((0.5, 1)), **wrong)


@pytest.mark.parametrize(
    "cuts",
    [
        [("web", "art", 1, 4, 0.5, 1, 1, 0), ("web", "art", 5, 20, 0.25, 1, 1, 0)],
        [("web", "art", 1, 4, 0.5, 1, 1, 0), ("web", "art", 5, 4, 0.75, 1, 1, 0)],
        [("web", "art", 1, 21, 0.5, 1, 1, 0)],
        [("web", "art", 1, 0, 0.5, 1, 1, 0)],
        [("web", "art", 1, 4, None, 1, 1, 0)],
        [("web", "art", 1, None, 0.5, 1, 1, 0)],
        [("web", "art", 1, 4, float("nan"), 1, 1, 0)],
    ],
)
def test_cuts_that_are_no_order_are_refused(tmp_path: Path, cuts: list[tuple]) -> None:
    with pytest.raises(DataError, match="no buckets of web/art"):
        tagged(tmp_path, cuts, scored((0.5, 1)))


@pytest.mark.parametrize("n", [0, -5, 3, 7, 40])
def test_a_number_of_buckets_that_does_not_divide_twenty_is_refused(n: int) -> None:
    with pytest.raises(ConfigError, match=f"divide the 20 vigintiles\n  got {n},"):
        planned(scored((0.5, 1)), num_buckets=n)


@pytest.mark.parametrize(
    ("rows", "column", "said"),
    [
        ([(None, 5, "web"), (None, 3, "web"), (None, 3, "pdf")], "quality", "pdf: `quality` is NULL in all of 1; web: `quality` is NULL in all of 2"),
        ([(0.5, None, "web"), (0.5, 0, "web"), (None, 3, "web")], "n_tokens", "web: `n_tokens` is NULL or 0 where the others count in all of 3"),
    ],
)
def test_where_no_document_counts_the_source_and_its_column_are_named(rows: list[tuple], column: str, said: str) -> None:
    made = [dict(zip(("quality", "n_tokens", "source"), row, strict=True)) for row in rows]
    for size in (1, 1000):
        with pytest.raises(DataError, match="no document counts") as error:
            planned(made, size=size)
        assert (error.value.where, error.value.got) == (f"plan_vigintiles: {column}", said)
    assert planned([*made, *scored((0.5, 2))], num_buckets=1)[0][TOKENS] == 2  # one that counts is enough: other sources have no quality


def test_documents_of_another_side_and_an_empty_histogram_are_named() -> None:
    with pytest.raises(DataError, match=r"plan_vigintiles: split: (.|\n)*web: `split` is not train where the others count in all of 1"):
        planned([{**scored((0.5, 2))[0], "split": "heldout"}])
    empty = pa.Table.from_pylist([], schema=pa.schema([(name, kind) for name, kind in BINS.items()]))
    with pytest.raises(DataError, match="an empty histogram"), tempfile.TemporaryDirectory() as folder:
        plan_vigintiles(iter([pa.RecordBatch.from_pylist([], schema=empty.schema)]), folder=Path(folder))


def test_a_pool_without_documents_has_no_cuts(caplog: pytest.LogCaptureFixture) -> None:
    assert planned([]) == [] and planned(pa.Table.from_batches([pa.RecordBatch.from_pylist([], schema=SCHEMA)])) == []
    assert "no documents: there is nothing to cut" in caplog.text
