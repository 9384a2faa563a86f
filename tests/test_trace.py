"""From a packed sequence back to its documents."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from dolma.core.errors import DataError
from dolma.trace import trace
from tests.built import dataset


def _write(root: Path, keys: list[list[int]], lengths: list[list[int]]) -> None:
    mds = pytest.importorskip("dolma.io.mds")
    count = len(keys)
    columns = {
        "stream": pa.array(["web/science/18"] * count), "tokens": pa.array([[1] * 8] * count, pa.large_list(pa.uint32())),
        "source": pa.array(["web"] * count), "topic": pa.array(["science"] * count), "vigintile": pa.array([18] * count, pa.int32()),
        "doc_keys": pa.array(keys, pa.list_(pa.int64())), "doc_lens": pa.array(lengths, pa.list_(pa.int32())),
    }  # fmt: skip
    files = mds.write(iter([pa.RecordBatch.from_pydict(columns)]), root / "shard/pool")
    dataset(root, "shard/pool", None, kind="sequence", format="mds", files=files, recipe={"input": "pool/cells"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    documents = pa.table({
        "id": ["a", "b", "c"], "key": pa.array([11, 22, 33], pa.int64()), "source": ["web"] * 3, "url": ["https://example.com/a", None, None],
        "file": ["crawl-0.warc.gz"] * 3, "offset": pa.array([0, 512, 99], pa.int64()), "text": ["x", "y", "z"],
    })  # fmt: skip
    dataset(tmp_path, "pool/documents", documents)
    dataset(tmp_path, "pool/cells", None, kind="tokens", recipe={"input": "pool/documents"})
    _write(tmp_path, [[11], [11, 33], [22]], [[8], [3, 5], [8]])
    return tmp_path


def test_trace_names_the_documents_of_a_sequence_in_order(root: Path) -> None:
    got = trace(root, "shard/pool", "web/science/18", 1)
    assert [(p.start, p.tokens, p.document["id"], p.document["offset"]) for p in got] == [(0, 3, "a", 0), (3, 5, "c", 99)]
    assert got[0].document["url"] == "https://example.com/a"


def test_trace_refuses_a_sequence_that_is_not_there(root: Path) -> None:
    with pytest.raises(DataError, match="no such sequence"):
        trace(root, "shard/pool", "web/science/18", 3)
    with pytest.raises(DataError, match="no such sequence"):
        trace(root, "shard/pool", "web/science/18", -1)


def test_trace_names_a_document_that_left_the_pool(root: Path) -> None:
    shutil.rmtree(root / "shard/pool")
    _write(root, [[11, 44]], [[3, 5]])
    with pytest.raises(DataError, match="not in the pool"):
        trace(root, "shard/pool", "web/science/18", 0)


def test_trace_needs_a_document_table(root: Path) -> None:
    dataset(root, "pool/cells", None, kind="tokens")
    with pytest.raises(DataError, match="not made from a document table"):
        trace(root, "shard/pool", "web/science/18", 0)


def test_trace_finds_a_stream_without_its_unit_and_names_the_near_ones(root: Path) -> None:
    assert trace(root, "shard/pool", "science/18", 0)[0].document["id"] == "a"
    with pytest.raises(DataError, match=r"web/science/18"):
        trace(root, "shard/pool", "web/science/17", 0)
