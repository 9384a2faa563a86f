"""`dolma inspect`: rows by condition, the quarantine with its places, and what was dropped."""

from pathlib import Path

import pytest

from dolma import browse
from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError
from dolma.runner import Run
from tests.built import build
from tests.engines.flow import write_env, write_raw, write_recipes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


def test_first_gives_rows_that_meet_the_condition_in_file_order(root: Path) -> None:
    got = browse.first(root, "pool/documents", 3, "source = 'math' AND n_bytes > 1000", ["id", "n_bytes"])
    everything = manifests.read(root / "pool/documents").to_pylist()
    assert [row["id"] for row in got] == [row["id"] for row in everything if row["source"] == "math" and row["n_bytes"] > 1000][:3]
    assert set(got[0]) == {"id", "n_bytes"}


@pytest.mark.parametrize(("where", "columns"), [("sorce = 'math'", None), ("n_bytes", None), (None, ["nope"])])
def test_first_refuses_what_is_no_condition_or_column(root: Path, where: str | None, columns: list[str] | None) -> None:
    with pytest.raises(ConfigError):
        browse.first(root, "pool/documents", 1, where, columns)


def test_first_sends_shards_of_sequences_to_trace(root: Path) -> None:
    with pytest.raises(ConfigError, match="trace"):
        browse.first(root, "shard/pool", 1)


def test_quarantined_has_place_and_reason(root: Path) -> None:
    rows = list(browse.quarantined(root, manifests.load(root / "source/pdf/extract")))
    assert len(rows) == 7
    assert (rows[0].file, rows[0].offset, rows[0].step) == ("pdf/made_0.pdf", 0, "0:extract_pdf")
    assert all(row.reason for row in rows)


def test_show_cuts_long_values_and_puts_the_text_last() -> None:
    assert browse.show({"text": "a" * 50, "id": "x"}, 10) == "id: x\ntext: aaaaaaaaaa... (50 characters)"
    assert browse.show({"text": "a\nb"}, 0) == "text:\n  a\n  b"


def test_dropped_gives_the_documents_that_a_reason_took(tmp_path: Path) -> None:
    pipelines = write_recipes(tmp_path)
    write_raw(tmp_path, files=2, rows=100)
    env = write_env(tmp_path)
    run = Run(env, pipelines)
    run.run(["pool/short"])
    counts = manifests.load(run.root / "pool/short").counts
    got = browse.dropped("pool/short", "long", env, pipelines, 1000)
    assert len(got) == counts["1:keep.dropped.long"] > 0
    assert all(row["n_chars"] >= 40 for row in got)
    with pytest.raises(ConfigError, match="expected long"):
        browse.dropped("pool/short", "nope", env, pipelines, 1)
