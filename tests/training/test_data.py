"""What a stage reads: rates of a mix, and the checks before the first update."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dolma.core.errors import DataError
from dolma.core.files import sha256
from tests.messages import parts
from training import data
from training.cli import main
from training.objectives.lm import collate


def _ids(rows: object) -> list[int]:
    return [int(row["index"]) for row in rows]  # pyright: ignore


@pytest.mark.slow
def test_each_sequence_of_a_mix_is_served_floor_or_ceil_of_its_rate(root: Path) -> None:
    source = data.find(root, "mix/pretrain")
    assert source.rows == 90 + 125 + 20 and source.sequence_tokens == 64
    rows = data.open_rows(source, batch=4, seed=1)
    served = Counter(_ids(rows))
    sizes, at = {part.folder.name: part.rows for part in source.parts}, 0
    for part in source.parts:
        counts = [served[i] for i in range(at, at + part.rows)]
        assert sum(counts) == int(part.rows * part.repeats) and set(counts) <= {int(part.repeats), int(np.ceil(part.repeats))}, part
        at += part.rows
    assert at == sum(sizes.values())
    again = data.open_rows(source, batch=4, seed=1)
    assert data.shared_memory(again) != data.shared_memory(rows)  # two open at once do not share
    first = _ids(again)
    assert Counter(first) == served and first != sorted(first)
    other = _ids(data.open_rows(source, batch=4, seed=2))
    assert other != first


def test_a_changed_shard_stops_the_run_with_its_name(own_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = own_root / "shard/pool/web/a/1/shard.00000.mds"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"web/a/1/shard\.00000\.mds"):
        data.find(own_root, "mix/pretrain")
    stage = Path(__file__).parents[2] / "pipelines" / "train" / "pretrain.yaml"
    assert main(["run", str(stage), "--root", str(own_root)]) == 3
    said = parts(capsys.readouterr().err)
    assert said["where"] == str(shard) and said["got"] == f"sha256 {sha256(shard)[:16]}"
    shard.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"differs from its manifest"):
        data.find(own_root, "mix/pretrain", hashes=False)


def test_another_tokenizer_is_refused(own_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = data.find(own_root, "mix/pretrain")
    path = own_root / "pool/tokenizer/tokenizer.json"
    assert data.tokenizer(own_root, "pool/tokenizer/tokenizer.json", source).vocab == source.facts["tokenizer"]["vocab_size"]
    path.write_text(path.read_text() + "\n")
    with pytest.raises(DataError, match=r"not the tokenizer that made mix/pretrain") as error:
        data.tokenizer(own_root, "pool/tokenizer/tokenizer.json", source)
    assert error.value.code == 3
    stage = Path(__file__).parents[2] / "pipelines" / "train" / "pretrain.yaml"
    assert main(["run", str(stage), "--root", str(own_root)]) == 3
    said = parts(capsys.readouterr().err)
    assert said["where"] == str(path) and "not the tokenizer that made mix/pretrain" in said["what"]
    assert said["got"] == f"sha256 {sha256(path)[:16]}" and source.facts["tokenizer"]["sha256"].startswith(said["expected"])


def test_missing_streams_and_unfit_datasets_are_data_errors(own_root: Path, table: Callable[..., None]) -> None:
    table(own_root, "mix/gone", "mix", [{"dataset": "shard/pool", "stream": "web/none", "repeats": 1.0, "sequences": 0, "tokens": 0}])
    table(own_root, "pool/heldout", "document", [{"id": "a"}])
    for name in ("mix/gone", "pool/heldout", "mix/absent"):
        with pytest.raises(DataError):
            data.find(own_root, name)


def test_document_ids_follow_lengths_or_end_of_text() -> None:
    tokens = np.array([5, 6, 0, 7, 0, 1, 1])
    assert data.documents(tokens, np.array([3, 2]), 0).tolist() == [0, 0, 0, 1, 1, -1, -1]
    assert data.documents(tokens, None, 0).tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_forget_removes_only_what_has_the_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("9912345000_locals_x", "9912345001_locals_x", "other"):
        (tmp_path / name).touch()
    for prefix in ("", "_", "99_", "*", "../x_"):
        data.forget(prefix)
    data.forget("9912345000_")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["9912345001_locals_x", "other"]


@pytest.mark.slow
def test_rows_collate_into_batches(root: Path) -> None:
    from training.config import Lm

    rows = data.open_rows(data.find(root, "shard/pool"), batch=2, seed=1)
    batch = collate([rows[0], rows[1]], Lm(kind="lm", doc_mask=True), 0, 1)
    assert batch["tokens"].shape == (2, 64) and batch["docs"].max() == 1 and batch["index"].tolist() == [0, 1]
