"""WARC in zstd: dictionaries, frames that hold no data, and records that go on in the next frame."""

from pathlib import Path

import pytest

from dolma.core.errors import DataError
from tests.io.records import DICTIONARY, FRAMES, RECORDS, TRAINED, ZSTD, read, skippable


@pytest.mark.parametrize("stored", [DICTIONARY.as_bytes(), ZSTD.compress(DICTIONARY.as_bytes())], ids=["plain", "compressed"])
def test_zstd_dictionary_and_frames_that_hold_no_data(tmp_path: Path, stored: bytes) -> None:
    rows = read(tmp_path / "x", skippable(stored) + b"".join(skippable(b"padding", 0x51) + frame for frame in TRAINED) + skippable(b"", 0x5F))
    assert rows["id"].to_pylist() == [f"id-{k}" for k in range(7)] and rows["_error"].null_count == 7
    assert rows["content"].to_pylist()[2] == b"<p>one</p>" * 30
    assert rows["offset"].to_pylist() == [len(stored) + 8 + 15 * (k + 1) + sum(map(len, TRAINED[:k])) for k in range(7)]


def test_zstd_frames_without_their_dictionary(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="byte 0: damage"):  # none can be read, and so nothing says that each holds one record
        read(tmp_path / "x", b"".join(TRAINED))
    assert [row["_error"] is None for row in read(tmp_path / "x", FRAMES[0] + TRAINED[1] + FRAMES[2]).to_pylist()] == [True, False, True]
    two = skippable(DICTIONARY.as_bytes()) + TRAINED[2] + TRAINED[3]
    assert read(tmp_path / "x", FRAMES[1] + two)["id"].to_pylist() == ["id-1", "id-2", "id-3"]  # two archives, one after the other


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"no dictionary",
        b"\x37\xa4\x30\xec" + b"x" * 60,
        ZSTD.compress(b"no dictionary"),
        ZSTD.compress(b"x" * 99)[:-9],
        ZSTD.compress(b"\x37\xa4\x30\xec" + bytes(1 << 24)),
    ],
)
def test_a_damaged_dictionary_is_an_error(tmp_path: Path, stored: bytes) -> None:
    with pytest.raises(DataError, match="dictionary cannot be read"):
        read(tmp_path / "x", skippable(stored) + TRAINED[0])
    with pytest.raises(DataError):
        read(tmp_path / "x", (skippable(stored) + TRAINED[0])[: len(stored) + 7])


@pytest.mark.parametrize("size", [40, 300, 1000])
def test_records_may_go_on_in_the_next_zstd_frame(tmp_path: Path, size: int) -> None:
    stream = b"".join(RECORDS)
    frames = [ZSTD.compress(stream[at : at + size]) for at in range(0, len(stream), size)]
    rows = read(tmp_path / "x", b"".join(frame + skippable(b"x", 0x50) for frame in frames))
    assert rows["id"].to_pylist() == [f"id-{k}" for k in range(7)] and rows["_error"].null_count == 7


def test_a_record_whose_second_zstd_frame_is_damaged_costs_itself_only(tmp_path: Path) -> None:
    two = [ZSTD.compress(part) for part in (RECORDS[2][:300], RECORDS[2][300:])]
    content = bytearray(FRAMES[0] + two[0] + two[1] + FRAMES[3])
    content[-len(FRAMES[3]) - 3] ^= 0xFF
    rows = read(tmp_path / "x", bytes(content)).to_pylist()
    assert [row["id"] for row in rows if not row["_error"]] == ["id-0", "id-3"]
    assert [row["offset"] for row in rows if row["_error"]] == [len(FRAMES[0]), len(FRAMES[0] + two[0])]  # the record, and the rest of it
