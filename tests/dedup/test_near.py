"""Which document of a cluster is kept, and how near the others are; from texts to survivors on the kit's planted pages."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.dedup.near import TAG, mark_near
from dolma.engines import shuffle
from tests.dedup.groups import documents, marks

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(-2, 2)), st.sampled_from(["a b c d e f", "a b c d e g", "x y", "", "A B, c d e f"])),
    max_size=14,
)


def clustered(rows: list[tuple[int, int | None, str]]) -> pa.RecordBatch:
    """Documents of (cluster, age, text); their keys fall with their numbers."""
    made = documents([text for _, _, text in rows], keys=[100 - n for n in range(len(rows))])
    clusters = [cluster for cluster, _, _ in rows]
    made = made.append_column("cluster", pa.array(clusters, pa.int64())).append_column("age", pa.array([age for _, age, _ in rows], pa.int64()))
    return made.append_column("cluster_size", pa.array([clusters.count(one) for one in clusters], pa.int32()))


@settings(max_examples=80, deadline=None)
@given(ROWS, st.sampled_from([None, "age"]), st.sampled_from([1 << 20, 2]))
def test_one_of_each_cluster_is_kept_by_preference_then_key(rows: list[tuple[int, int | None, str]], prefer: str | None, cap: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shuffle, "CHUNK_ROWS", 2 if cap == 2 else 65_536)
        made = marks(mark_near, clustered(rows), prefer=prefer, size=3, cap=cap)
    assert sorted(row["key"] for row in made) == sorted(100 - n for n in range(len(rows)))
    for cluster in {cluster for cluster, _, _ in rows}:
        order = sorted((age is None, age or 0, 100 - n) if prefer else (False, 0, 100 - n) for n, (one, age, _) in enumerate(rows) if one == cluster)
        kept = order[0][2]
        for row in made:
            if row["cluster"] == cluster:
                assert row["near_of"] == (None if row["key"] == kept else kept)
                assert (row["jaccard"] is None) == (row["near_of"] is None)


def test_similarity_and_band_are_those_of_the_kept_and_the_dropped() -> None:
    text = " ".join(f"w{n}" for n in range(200))
    rows = [(1, 0, text), (1, 1, text.upper()), (1, 2, text + " end"), (1, 3, "other words all the way"), (2, 0, ""), (2, 1, "")]
    made = {100 - row["key"]: row for row in marks(mark_near, clustered(rows), prefer="age", bands=20, rows=2)}
    assert [made[n]["near_of"] for n in range(6)] == [None, 100, 100, 100, None, 96]
    assert [made[n]["jaccard"] for n in (1, 3)] == [1.0, 0.0] and made[2]["jaccard"] == pytest.approx(196 / 197)
    assert (made[1]["band"], made[3]["band"], made[5]["band"]) == (0, None, None)
    assert made[2]["band"] in range(20) and {row["cluster_size"] for row in made.values()} == {4, 2}


def test_two_documents_of_one_key_do_not_both_vanish() -> None:
    batch = clustered([(1, 0, "a b"), (1, 0, "a b")])
    batch = batch.set_column(batch.schema.get_field_index("key"), "key", pa.array([5, 5], pa.int64()))
    assert [row["near_of"] for row in marks(mark_near, batch)] == [None, 5]


def test_no_rows_give_no_marks() -> None:
    assert marks(mark_near, clustered([])) == []
    assert list(TAG) == ["origin", "key", "cluster", "cluster_size", "near_of", "jaccard", "band"]
