"""The runner of the performance table, over pairs of trivial commands: no figure is asserted, only how figures are made and kept."""

import json
import os
import sys
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import clock, corpus, environments, measure, results
from benchmarks.pair import Pair, Peer
from benchmarks.results import Row
from benchmarks.table import rewrite
from dolma.core.errors import ConfigError, DataError, EnvironmentFault

BURN = "import time\nwhile time.process_time() < {}: pass"
WRITE = ("{python}", "-c", "import shutil, sys; shutil.copytree(*sys.argv[1:], dirs_exist_ok=True)", "{inputs}", "{out}")
ROW = Row("a/b", "b", "1.0", "CPU s", 1.0, 2.5, 2.5, 3, 0.125, "what differs")


def python(code: str) -> tuple[str, ...]:
    return ("{python}", "-c", code)


@pytest.fixture
def pair() -> Pair:
    return Pair(name="burn/python", peer=Peer("python", version="3"), ours=python("pass"), theirs=python(BURN.format(0.5)), note="A note.")


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text("# before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    return path


def scripted(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> list[str]:
    """CPU seconds that come from a list, a peak of a megabyte more each time; the places that were measured, in order."""
    seen: list[str] = []

    def usage(_: object, *, where: str, **__: object) -> clock.Usage:
        seen.append(where)
        return clock.Usage(cpu=seconds[len(seen) - 1], wall=1.0, peak=len(seen) * 1_000_000)

    monkeypatch.setattr(measure, "usage", usage)
    return seen


def test_runs_are_interleaved_and_the_row_names_medians_ratio_and_spread(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, [1.0, 8.0, 2.0, 10.0, 4.0, 11.0])
    row = measure.measure(pair, tmp_path)
    assert seen == ["burn/python: ours", "burn/python: python"] * 3
    assert (row.ours, row.theirs, row.ratio, row.runs) == (2.0, 10.0, 5.0, 3)
    assert row.spread == 1.5  # (4 - 1) / 2: that of ours, the larger one
    assert (row.peer, row.peer_version, row.unit, row.note) == ("python", "3", "CPU s", "A note.")


def test_start_up_is_measured_on_the_smallest_input_after_a_run_that_does_not_count(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scripted(monkeypatch, [99.0, 99.0, *[0.25, 0.5] * 3, *[1.0, 2.0] * 3])
    sizes: list[int] = []
    row = measure.measure(replace(pair, prepare=lambda _, size: sizes.append(size) or f"{size} bytes", size=7, agree=lambda *_: "Equal."), tmp_path)
    assert sizes == [0, 7] and len(seen) == 14
    assert row.note == "A note. Input: 7 bytes. Start-up (the same on one text): ours 0.25, theirs 0.50 CPU s. Equal."
    assert (row.ours, row.theirs) == (1.0, 2.0)


def test_a_pair_of_memory_names_the_peaks_of_both_sides_on_the_whole_input(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [1.0] * 6)
    assert measure.measure(replace(pair, memory=True), tmp_path).note == "A note. Peak memory of the largest process: ours 5 MB, theirs 6 MB."
    scripted(monkeypatch, [1.0] * 14)
    assert measure.measure(replace(pair, memory=True, prepare=lambda *_: "bytes"), tmp_path).note.endswith(" ours 13 MB, theirs 14 MB.")


def test_a_pair_that_is_timed_inside_has_the_milliseconds_that_its_sides_wrote(pair: Pair, tmp_path: Path) -> None:
    ours, theirs = (python(f"import pathlib, sys; pathlib.Path(sys.argv[1], 'seconds').write_text('{value}')") for value in (0.0005, 0.25))
    sides = {"ours": (*ours, "{out}"), "theirs": (*theirs, "{out}")}
    row = measure.measure(replace(pair, **sides, inside=True, prepare=lambda *_: "4 texts"), tmp_path)
    assert (row.unit, row.ours, row.theirs, row.ratio, row.note) == ("CPU ms", 0.5, 250.0, 500.0, "A note. Input: 4 texts.")


def test_a_side_reads_the_input_and_finds_an_empty_folder_each_time(pair: Pair, tmp_path: Path) -> None:
    def prepare(folder: Path, size: int) -> str:
        (folder / "text").write_text(str(size))
        return "a file"

    def agree(inputs: Path, ours: Path, theirs: Path) -> str:
        return " ".join((folder / "text").read_text() for folder in (inputs, ours, theirs))

    row = measure.measure(replace(pair, ours=WRITE, theirs=WRITE, prepare=prepare, size=7, agree=agree), tmp_path)
    assert row.note.endswith("7 7 7")


def test_a_function_is_run_in_a_process_of_its_own(tmp_path: Path) -> None:
    words = measure._command(corpus.write, Path("python"), tmp_path, tmp_path / "out")  # pyright: ignore[reportArgumentType]
    assert words[1:5] == ["-m", "benchmarks.side", "benchmarks.corpus", "write"]


def seconds(code: str, tmp_path: Path) -> float:
    return clock.cpu_seconds([sys.executable, "-c", code], where="here", log=tmp_path / "log", env=dict(os.environ), cwd=tmp_path)


def test_the_time_of_children_counts(tmp_path: Path) -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN.format(0.5)!r}])"
    assert seconds(child, tmp_path) >= 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process inherit orphans")
def test_the_time_of_a_child_that_outlives_its_parent_counts(tmp_path: Path) -> None:
    assert seconds(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BURN.format(0.5)!r}])", tmp_path) >= 0.5


def test_the_peak_is_that_of_the_largest_process(tmp_path: Path) -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'bytearray(300_000_000)'])"
    used = clock.usage([sys.executable, "-c", child], where="here", log=tmp_path / "log", env=dict(os.environ), cwd=tmp_path)
    assert used.peak > 300_000_000 and used.wall > 0


def test_a_command_over_its_limit_is_ended(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="exit code -9"):
        clock.cpu_seconds(["sleep", "60"], where="here", log=tmp_path / "log", env=dict(os.environ), cwd=tmp_path, limit=0.1)


def test_a_failing_peer_is_named_with_the_end_of_its_output(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"burn/python: python: ended with exit code 3(.|\n)*the reason") as caught:
        measure.measure(replace(pair, theirs=python("import sys; print('the reason', file=sys.stderr); sys.exit(3)")), tmp_path)
    assert caught.value.code == 4


def test_named_rows_are_measured_and_the_others_stay(pair: Pair, tmp_path: Path, readme: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    results.save(file, [ROW])
    broken = replace(pair, name="broken/python", ours=python("raise SystemExit(1)"))
    failed = command.bench([broken, pair], work=tmp_path / "work", file=file, readme=readme)
    assert [error.where for error in failed] == ["broken/python: ours"]
    rows = json.loads(file.read_text())
    assert [row["name"] for row in rows] == ["a/b", "burn/python"]
    assert all(list(row) == [field.name for field in fields(Row)] for row in rows)
    text = readme.read_text()
    assert text.startswith("# before\n<!-- bench -->\n| name |") and text.endswith("<!-- /bench -->\nafter\n") and "old" not in text
    assert "| `a/b` | b 1.0 | CPU s | 1.00 | 2.50 | 2.5 | 3 | 12% |" in text and "- `a/b`: what differs" in text
    assert "`burn/python`" in capsys.readouterr().out
    command.bench([], work=tmp_path, file=file, readme=readme)
    assert readme.read_text() == text


def test_results_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert results.load(path) == {}
    path.write_text('[{"name": "a"}]')
    with pytest.raises(DataError, match="not a file of results"):
        results.load(path)


@pytest.mark.parametrize("text", ["", "<!-- bench -->", "<!-- /bench --><!-- bench -->", "<!-- bench --><!-- bench --><!-- /bench -->"])
def test_a_readme_without_the_two_markers_is_not_touched(text: str, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(DataError, match="not marked"):
        rewrite(path, "bench", "table")
    assert path.read_text() == text


def test_pairs_are_found_by_their_declaration_and_no_other_file_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "found_by_declaration"
    folder.mkdir()
    (folder / "one.py").write_text("from benchmarks.pair import Pair, Peer\nPAIR = Pair('one/x', Peer('x'), ('true',), ('true',), 'n')\n")
    (folder / "stages.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(command.pairs(folder)) == ["one/x"]


def test_the_declared_pairs() -> None:
    known = command.pairs()
    assert {"extraction/trafilatura", "heuristics/datatrove", "minhash/datatrove"} <= set(known)
    assert [pair.name for pair in command.choose(known, ["minhash/datatrove"])] == ["minhash/datatrove"]
    assert command.choose(known, []) == list(known.values())
    assert all(pair.runs >= 3 and pair.note for pair in known.values())
    with pytest.raises(ConfigError, match="did you mean `minhash/datatrove`"):
        command.choose(known, ["minhash/datatrov"])


def test_texts_of_the_kit_reach_the_size_and_have_their_own_ids(kit: Path, tmp_path: Path) -> None:
    assert corpus.kit() == kit
    assert corpus.write(tmp_path / "small", 0).startswith("1 texts")
    corpus.write(tmp_path / "large", 1_000_000)
    rows = [json.loads(line) for line in (tmp_path / "large/texts/texts.jsonl").open(encoding="utf-8")]
    assert sum(len(row["text"].encode()) for row in rows) >= 1_000_000 > sum(len(row["text"].encode()) for row in rows[:-1])
    assert len({row["id"] for row in rows}) == len(rows)


def test_an_environment_is_made_once_and_again_when_its_requirements_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr(environments, "_install", lambda peer, _: made.append(peer.packages))
    for packages in (("a",), ("a",), ("a", "b")):
        python = environments.python_of(Peer("peer", packages=packages, absent=("torch",)), tmp_path)
        assert python == tmp_path / "peer/bin/python" and python.is_file()
    assert made == [("a",), ("a", "b")]
    assert environments.python_of(Peer("peer"), tmp_path) == Path(sys.executable)


def test_an_environment_with_what_must_be_absent_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_install", lambda *_: None)
    with pytest.raises(EnvironmentFault, match="holds json"):
        environments.python_of(Peer("peer", packages=("a",), absent=("json",)), tmp_path)


def test_the_version_of_a_row_is_that_of_the_peers_package() -> None:
    assert environments.version_of(Peer("numba"), Path(sys.executable)) == version("numba")
    assert environments.version_of(Peer("other", distribution="numba"), Path(sys.executable)) == version("numba")
    with pytest.raises(EnvironmentFault, match="no version"):
        environments.version_of(Peer("no-such-package"), Path(sys.executable))
