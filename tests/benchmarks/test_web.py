"""The rows of the web path: what both sides are given, and how the figures of a row are read. No time is asserted."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command
from benchmarks import archives, heuristics_datatrove, heuristics_dolma, scaling, web_datatrove
from benchmarks.clock import Usage
from benchmarks.heuristics_datatrove_split import _split
from benchmarks.scaling import Row


def test_the_rows_of_the_web_path_are_declared() -> None:
    known = command.pairs()
    rows = ["heuristics/datatrove", "heuristics/datatrove-split", "heuristics/dolma", "web/datatrove", "web/datatrove-resiliparse"]
    assert set(rows) <= set(known)
    assert known["heuristics/datatrove"].ours is known["heuristics/datatrove-split"].ours is known["heuristics/dolma"].ours
    assert known["web/datatrove"].ours is known["web/datatrove-resiliparse"].ours


def test_the_smallest_input_is_one_page(kit: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastwarc")
    from dolma.io.warc import warc

    assert archives.write(tmp_path, 0) == "one page"
    (row,) = [row for batch in warc(str(tmp_path / "web/crawl-0.warc.gz"), file="a") for row in batch.to_pylist()]
    assert row["status"] == 200 and b"<html" in row["content"].lower()


def test_archives_are_repeated_whole_until_the_size_is_reached(kit: Path, tmp_path: Path) -> None:
    sources = sorted((kit / "web").glob("crawl-*.warc.gz"))
    assert archives.size() == sum(source.stat().st_size for source in sources)
    said = archives.write(tmp_path, archives.size() + 1)
    made = sorted((tmp_path / "web").iterdir())
    assert [path.read_bytes() for path in made] == [source.read_bytes() for source in [*sources, sources[0]]]
    assert said.startswith("3 archives") and said.endswith("the 2 of the data kit, 1.5 times each")


def test_the_texts_of_the_toolkit_are_those_of_ours(kit: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    heuristics_dolma.prepare(tmp_path, 200_000)
    rows = [json.loads(line) for line in (tmp_path / "documents/texts.jsonl").open(encoding="utf-8")]
    assert pq.read_table(tmp_path / "texts.parquet").to_pylist() == rows


def test_ours_writes_every_text_with_its_measures(kit: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    heuristics_datatrove.prepare(tmp_path, 200_000)
    (tmp_path / "out").mkdir()
    heuristics_datatrove.ours(tmp_path, tmp_path / "out")
    made = pq.read_table(tmp_path / "out")
    assert made.num_rows == pq.read_table(tmp_path / "texts.parquet").num_rows
    assert {"n_words", "symbol_ratio", "repeated_10gram_chars"} <= set(made.column_names)


@given(st.text(alphabet="ab .!?\n\u00a0é", max_size=60))
def test_the_plain_split_loses_no_character(text: str) -> None:
    pytest.importorskip("datatrove")
    tokenizer = _split()
    spans = tokenizer.span_tokenize(text)
    assert "".join(text[a:b] for a, b in spans) == text
    assert tokenizer.word_tokenize(text) == text.split()


def test_the_plain_split_reaches_the_filters_of_datatrove() -> None:
    pytest.importorskip("datatrove")
    from datatrove.utils.text import split_into_sentences, split_into_words

    text = "It costs 3.5 dollars. Does it?! Yes..."
    assert split_into_words(text, _split()) == text.split()
    assert split_into_sentences(text, _split()) == ["It costs 3.5 dollars.", " Does it?!", " Yes..."]


def test_costs_by_step_are_read_from_the_last_run(tmp_path: Path) -> None:
    lines = [{"measured": {"map/0": {"cpu": {"read:warc": 9}}}}, {"measured": {"map/0": {"cpu": {"read:warc": 1.5}}, "map/1": {"cpu": {"read:warc": 0.5}}}}]
    (tmp_path / "run.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert web_datatrove.steps(tmp_path) == {"read:warc": 2.0}
    (tmp_path / "run.jsonl").write_text('{"seconds": 1}\n')
    assert not web_datatrove.steps(tmp_path)


ROWS = [
    Row(0, 1, 1, 2.0, 2.1, None, 200, 3),
    Row(1, 1, 100, 12.0, 12.5, 100.0, 300, 3),
    Row(4, 1, 400, 43.6, 44.0, 104.0, 300, 3),
    Row(4, 2, 400, 47.0, 22.0, 112.5, 1300, 3),
]


def test_the_verdicts_on_scaling() -> None:
    said = scaling.verdicts(ROWS)
    assert said == {"level": 0.04, "speed_up": 2.0}  # the row of two workers is none of the sizes
    text = scaling.markdown(ROWS, said)
    assert "| one page | 1 | 1 | 2.0 | 2.1 |  | 200 |" in text and "| 4x | 2 | 400 | 47.0 | 22.0 | 112.500 | 1,300 |" in text
    assert text.endswith("Sizes differ by 4.0% (at most 10%); two workers are 2.00 times one (at least 1.8).")


def test_scaling_runs_each_size_and_two_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[str, int]] = []

    def run(inputs: Path, _: Path, workers: int) -> tuple[Usage, int]:
        seen.append((inputs.name, workers))
        size = int(inputs.name.removeprefix("input-"))
        return Usage(2.0 + 10 * size, (2.0 + 10 * size) / workers, 500_000_000), 100 * size or 1

    monkeypatch.setattr(scaling, "_run", run)
    monkeypatch.setattr(archives, "write", lambda *_: "")
    monkeypatch.setattr(archives, "size", lambda: 1)
    monkeypatch.setattr(scaling, "ROOT", tmp_path)
    assert scaling.main(["--times", "4", "1", "--runs", "2", "--out", str(tmp_path / "scaling.json")]) == 0
    assert seen == [("input-0", 1), *[("input-0", 1), ("input-1", 1), ("input-4", 1), ("input-4", 2)] * 2]
    made = json.loads((tmp_path / "scaling.json").read_text())
    assert made["level"] == 0.0 and made["speed_up"] == 2.0 and made["rows"][1]["per_thousand"] == 100.0
    assert "| 4x | 1 | 400 | 42.0 | 42.0 | 100.000 | 500 |" in capsys.readouterr().out
