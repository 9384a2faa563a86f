"""The kept document of a cluster, and each other one's similarity and band to it; the newest wins; the planted duplicates of the kit."""

import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.core.schema import TABLES
from dolma.dedup import verify
from dolma.dedup.clusters import cluster_edges
from dolma.dedup.exact import mark_exact
from dolma.dedup.minhash import mark_minhash
from dolma.dedup.near import TAG, mark_near
from dolma.dedup.verify import verify_pairs
from dolma.engines import groups
from dolma.kernels.jaccard import jaccards
from dolma.kernels.minhash import band_keys
from dolma.table import set as set_columns
from tests.dedup.groups import documents, marks

WORDS = [f"word{k}" for k in range(60)]
AGE = {"age": "-epoch_us(TRY_CAST(date AS TIMESTAMP))"}  # as in pool/exact and pool/near


def clustered(
    texts: list[str | None], clusters: list[int], keys: list[int] | None = None, ages: list[int | None] | None = None, sizes: list[int] | None = None
) -> pa.RecordBatch:
    counts = sizes or [clusters.count(one) for one in clusters]
    batch = documents(texts, keys).append_column("cluster", pa.array(clusters, pa.int64())).append_column("cluster_size", pa.array(counts, pa.int32()))
    return batch.append_column("age", pa.array(ages or [None] * len(texts), pa.int64()))


def near(batch: pa.RecordBatch, **params: object) -> dict[int, dict]:
    return {row["key"]: row for row in marks(mark_near, batch, **params)}  # type: ignore[arg-type]


@settings(max_examples=40)
@given(st.integers(0, 14), st.randoms(use_true_random=False), st.booleans())
def test_the_kept_its_similarities_and_bands_do_not_hang_on_the_order_of_rows(count: int, random, preferred: bool) -> None:
    texts = [" ".join(random.sample(WORDS[:8], random.randint(0, 8))) for _ in range(count)]
    keys, clusters = random.sample(range(1 << 40), count), [random.choice([1, 5]) for _ in range(count)]
    ages = [random.choice([None, 1, 2]) for _ in range(count)]
    params = {"bands": 4, "rows": 2, **({"prefer": "age"} if preferred else {})}
    made = near(clustered(texts, clusters, keys, ages), **params)
    assert sorted(made) == sorted(keys)
    age = [(value is None, value or 0) if preferred else (False, 0) for value in ages]
    kept = {one: min((age[k], keys[k], k) for k in range(count) if clusters[k] == one)[2] for one in set(clusters)}
    bands, counts = band_keys(pa.array(texts, pa.string()), shingle=5, bands=4, rows=2, seed=1)
    for k, first in ((k, kept[clusters[k]]) for k in range(count)):
        row = made[keys[k]]
        shared = [band for band in range(4) if bands[k, band] == bands[first, band] and counts[k] and counts[first]]
        true = jaccards(pa.array(texts), np.array([k]), np.array([first]), shingle=3)[0]
        expected = (None, None, None) if k == first else (keys[first], true, shared[0] if shared else None)
        assert (row["origin"], row["cluster"], row["cluster_size"]) == (k, clusters[k], clusters.count(clusters[k]))
        assert (row["near_of"], row["jaccard"], row["band"]) == expected
    order = random.sample(range(count), count)
    mixed = clustered([texts[k] for k in order], [clusters[k] for k in order], [keys[k] for k in order], [ages[k] for k in order])
    again = near(mixed, **params)
    assert {key: {**row, "origin": 0} for key, row in again.items()} == {key: {**row, "origin": 0} for key, row in made.items()}


def test_a_giant_cluster_in_chunks_gives_the_marks_of_one_that_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join([*WORDS[:k], "new", *WORDS[k:]]) for k in range(60)]
    batch = clustered([*texts, "other text", "other text"], [4] * 60 + [9] * 2, ages=[-(k % 7) for k in range(62)])
    expected = near(batch, prefer="age")
    assert len(expected) == 62 and sum(row["near_of"] is None for row in expected.values()) == 2
    monkeypatch.setattr(groups, "CHUNK_ROWS", 10)
    monkeypatch.setattr(verify, "PART_BYTES", 900)
    rows = marks(mark_near, batch, size=7, cap=20, prefer="age")
    assert len(rows) == 62 and {row["key"]: row for row in rows} == expected


def test_documents_with_one_key_do_not_break_it() -> None:
    rows = marks(mark_near, clustered(["a b c", "a b c"], [3, 3], [3, 3]))
    assert [(row["origin"], row["near_of"], row["jaccard"], row["band"]) for row in rows] == [(0, None, None, None), (1, 3, 1.0, 0)]


def test_ends_of_a_chain_have_their_true_similarity_and_no_band() -> None:
    made = near(clustered([" ".join(WORDS[k : k + 30]) for k in (0, 15, 30)], [1] * 3))
    assert (made[1]["jaccard"], made[1]["band"]) == (pytest.approx(13 / 43), None)
    assert (made[2]["jaccard"], made[2]["band"]) == (0.0, None)


def test_no_rows_give_no_marks() -> None:
    assert mark_near.rows is not None
    made = mark_near(mark_near.rows(clustered([], [])), np.zeros(0, np.int64), cont=False)
    assert (made.num_rows, made.schema) == (0, pa.schema(list(TAG.items())))


def test_a_preference_that_is_no_int64_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mark_near: prefer.*`text`"):
        near(clustered(["a"], [1]), prefer="text")


@pytest.mark.parametrize("name", ["compare", "shingle", "bands", "rows"])
def test_a_signature_of_nothing_is_refused_by_its_field(name: str) -> None:
    with pytest.raises(ConfigError, match=f"mark_near: {name}.*\n.*got 0"):
        near(clustered(["a b c"], [1]), **{name: 0})


def test_the_newest_wins_and_a_document_without_a_date_loses() -> None:
    dates = ["2024-12-31T23:59:59Z", None, "2025-01-02T00:00:00Z", "2025-01-02T00:00:01Z", "no date"]
    batch = clustered(["a b c d"] * 5, [1] * 5, keys=[1, 2, 3, 4, 5]).drop_columns("age").append_column("date", pa.array(dates, pa.string()))
    batch = set_columns(batch, columns=AGE)
    assert {key: row["near_of"] for key, row in near(batch, prefer="age").items()} == {1: 4, 2: 4, 3: 4, 4: None, 5: 4}
    assert {row["key"]: row["exact_of"] for row in marks(mark_exact, batch, prefer="age")} == {1: 4, 2: 4, 3: 4, 5: 4}


def edge_table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema(list(TABLES["edge"].items())))


def tagged(batch: pa.RecordBatch, *edges: pa.Table) -> pa.RecordBatch:
    """The clustered rows of `batch` with the columns cluster and cluster_size, as a recipe's `tags` give them."""
    tags = pa.concat_tables(part for _, part in cluster_edges(iter(pa.concat_tables(edges).to_batches()), folder=Path()))
    some = batch.take(tags.column("origin").combine_chunks())
    return some.append_column("cluster", tags.column("cluster").combine_chunks()).append_column("cluster_size", tags.column("cluster_size").combine_chunks())


def deduplicated(batch: pa.RecordBatch, bands: int, rows: int, threshold: float) -> tuple[dict[int, int], dict[int, dict]]:
    """pool/exact, edges, components, verified, strict, clusters and near in memory: `exact_of` by key, and the rows of near by key."""
    batch = set_columns(batch, columns=AGE)
    exact = {row["key"]: row["exact_of"] for row in marks(mark_exact, batch, prefer="age")}
    left = batch.filter(pa.array([key not in exact for key in batch.column("key").to_pylist()]))
    components = tagged(batch, edge_table(marks(mark_minhash, left, bands=bands, rows=rows)))
    large = pc.greater_equal(components.column("cluster_size"), 500)
    bare = components.drop_columns(["cluster", "cluster_size"])
    strict = edge_table(marks(mark_minhash, bare.filter(large), bands=200, rows=31))
    verified = edge_table(marks(verify_pairs, components.filter(pc.invert(large)), threshold=threshold))
    return exact, near(tagged(batch, verified, strict), prefer="age")


def listed(kit: Path, name: str) -> list[dict]:
    """The rows of a list of the kit's web pages, with `record`, the id that the reader gives that page."""
    with gzip.open(kit / "web" / name, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [{**row, "record": row["warc_record_id"].removeprefix("<urn:uuid:").removesuffix(">")} for row in rows]


@pytest.fixture(scope="module")
def gold(kit: Path) -> list[tuple[str, str, str]]:
    """(role, record of the planted page, record of the page it was made from) of the kit."""
    place = {row["id"]: row["record"] for row in listed(kit, "pages_gold.jsonl.gz")}
    return [(row["role"], row["record"], place[row["of"]]) for row in listed(kit, "duplicates_gold.jsonl.gz")]


@pytest.fixture(scope="module")
def crawl(kit: Path, gold: list[tuple[str, str, str]]) -> pa.RecordBatch:
    """The planted pages of the kit with their originals, its generated pages that are much alike, and a quarter of the others, as documents.

    `id` is that of the record, `key` and `origin` the number of the row.
    """
    from dolma.extract.html import extract_html
    from dolma.io.warc import warc

    others = [*listed(kit, "other_records_gold.jsonl.gz"), *listed(kit, "pages_gold.jsonl.gz")[::4]]  # all 1,388 pages gave the same figures
    wanted = pa.array(sorted({name for _, *pair in gold for name in pair} | {row["record"] for row in others}))
    kinds = pa.array(["text/html", "application/xhtml+xml"])
    pages = []
    for path in sorted((kit / "web").glob("crawl-*.warc.gz")):
        for batch in warc(str(path), file=path.name):
            html = pc.and_(pc.equal(batch.column("status"), 200), pc.is_in(batch.column("content_type"), kinds))
            chosen = batch.filter(pc.and_(html, pc.is_in(batch.column("id"), wanted)))
            if chosen.num_rows:
                pages.append(extract_html(chosen).select(["id", "date", "text"]))
    table = pa.Table.from_batches(pages)
    texts = table.filter(pc.greater_equal(pc.utf8_length(table.column("text")), 20)).combine_chunks().to_batches()[0]  # as pool/candidates
    rows = pa.array(range(texts.num_rows), pa.int64())
    return texts.append_column("key", rows).append_column("origin", rows)


@pytest.mark.kit
@pytest.mark.slow
@pytest.mark.parametrize(("bands", "rows", "threshold", "near_found"), [(26, 11, 0.8, 47), (30, 8, 0.75, 49)])  # two planted pairs are under .8 (.788)
def test_the_planted_duplicates_of_the_kit_are_found_and_no_unlike_pages_are_joined(
    crawl: pa.RecordBatch, gold: list[tuple[str, str, str]], bands: int, rows: int, threshold: float, near_found: int
) -> None:
    exact, made = deduplicated(crawl, bands, rows, threshold)
    row = {name: k for k, name in enumerate(crawl.column("id").to_pylist())}
    leader = {key: key if one["near_of"] is None else one["near_of"] for key, one in made.items()}

    def kept(name: str) -> int:
        key = exact.get(row[name], row[name])
        return leader.get(key, key)

    there = [(role, one, of) for role, one, of in gold if one in row and of in row]
    found = {role: sum(kept(one) == kept(of) for other, one, of in there if other == role) for role, _, _ in gold}
    assert found == {"exact_duplicate": 48, "near_duplicate": near_found, "recrawl_same_url": 50}
    planted = {frozenset((row[one], row[of])) for _, one, of in there}
    groups: dict[int, list[int]] = {}
    for name in row:
        groups.setdefault(kept(name), []).append(row[name])
    pairs = np.array([pair for rows in groups.values() for pair in itertools.combinations(rows, 2)])
    true = jaccards(crawl.column("text"), pairs[:, 0], pairs[:, 1], shingle=3)
    wrong = [pair for pair, value in zip(pairs.tolist(), true, strict=True) if value < 0.8 and frozenset(pair) not in planted]
    assert not wrong and len(pairs) >= 98 + near_found
