"""A crawl fetched from a server on this machine: what is there afterwards, what a second run asks for, and how each failure ends."""

import errno
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma import cli
from dolma.core import manifest
from dolma.core.errors import ConfigError, EnvironmentFault, Partial
from dolma.core.files import lock
from dolma.fetch import part
from dolma.fetch.commoncrawl import RECORD, Fetched, choose, fetch
from dolma.fetch.http import Download, Patience
from dolma.fetch.progress import Transfers
from dolma.gather.warc import Capture, info, response
from tests.fetch.server import Behaviour, Server, content, cut, stall, status, whole, wrong
from tests.flow.mini import PIPELINES, write_env

CRAWL = "CC-MAIN-2024-51"
LIST = f"crawl-data/{CRAWL}/warc.paths.gz"
SIZE = 100_000
PROJECT = Path(__file__).parents[2]
QUICK = Patience(attempts=4, timeout=20, first=0.001, most=0.004)


def name(number: int) -> str:
    return f"CC-MAIN-20241201162023-20241201192023-{number:05d}.warc.gz"


def path(number: int) -> str:
    return f"crawl-data/{CRAWL}/segments/1733066035857.{number}/warc/{name(number)}"


@pytest.fixture
def crawl(server: Server) -> Server:
    """Eight archives and their path list."""
    server.files |= {path(number): content(number, SIZE) for number in range(8)}
    server.files[LIST] = gzip.compress("".join(path(number) + "\n" for number in range(8)).encode())
    return server


def run(server: Server, out: Path, limit: int = 8, **options) -> Fetched:
    return fetch(CRAWL, "warc", limit, out, base=server.url, **{"patience": QUICK, "workers": 3} | options)


def command(server: Server, out: Path, *more: str) -> list[str]:
    return ["fetch", "commoncrawl", "--crawl", CRAWL, "--limit", "8", "--base", server.url, "--out", str(out), *more]


def right(server: Server, out: Path, numbers: range | list[int] = range(8)) -> bool:
    """Whether the folder holds just these files with the server's bytes, and nothing unfinished."""
    folder = out / CRAWL
    there = {file.name for file in folder.iterdir()} - {".lock", RECORD, "warc.paths.gz"}
    return there == {name(number) for number in numbers} and all((folder / name(n)).read_bytes() == server.files[path(n)] for n in numbers)


def test_the_first_files_of_a_crawl(crawl: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command(crawl, tmp_path), "--limit", "3"]) == 0
    assert right(crawl, tmp_path, range(3))
    got = capsys.readouterr()
    assert got.out == f"{tmp_path / CRAWL}\n"
    assert "3 files fetched, 0 were there" in got.err and f"{name(2)}: 100 kB, checked by length, md5" in got.err


def test_a_second_run_asks_for_nothing_and_a_larger_one_for_the_rest(crawl: Server, tmp_path: Path) -> None:
    run(crawl, tmp_path, 3)
    asked = len(crawl.requests)
    assert run(crawl, tmp_path, 3) == Fetched(tmp_path / CRAWL, 0, 3)
    assert len(crawl.requests) == asked == 4
    assert run(crawl, tmp_path, 8) == Fetched(tmp_path / CRAWL, 5, 3)
    assert len(crawl.requests) == 9 and right(crawl, tmp_path)


def test_wet_files_stand_beside_warc_files(crawl: Server, tmp_path: Path) -> None:
    run(crawl, tmp_path, 1)
    crawl.files["text/a.warc.wet.gz"] = content(9, SIZE)
    crawl.files[LIST.replace("warc.", "wet.")] = gzip.compress(b"text/a.warc.wet.gz\n")
    fetch(CRAWL, "wet", 1, tmp_path, base=crawl.url, patience=QUICK)
    assert (tmp_path / CRAWL / "a.warc.wet.gz").read_bytes() == content(9, SIZE) and (tmp_path / CRAWL / name(0)).is_file()


def test_every_misbehaviour_at_once(crawl: Server, tmp_path: Path) -> None:
    plans: dict[int, list[Behaviour]] = {
        0: [status(503, Retry_After=0)] * 3,
        1: [cut(40_000, reset=True), cut(1), cut(20_000)],
        2: [cut(60_000)],
        3: [wrong, wrong],
        4: [cut(50_000), whole],
        5: [cut(50_000), status(416)],
        6: [stall(30_000)],
        7: [cut(10), status(429), cut(10_000), wrong],
    }
    crawl.plans = {path(number): plan for number, plan in plans.items()} | {LIST: [status(503), cut(10)]}
    with pytest.raises(Partial, match="1 of 8 files failed"):  # the last one needs five requests
        run(crawl, tmp_path, patience=QUICK.model_copy(update={"timeout": 2.0}))
    assert run(crawl, tmp_path) == Fetched(tmp_path / CRAWL, 1, 7)
    assert right(crawl, tmp_path)


def test_a_file_that_changed_between_two_runs(crawl: Server, tmp_path: Path) -> None:
    crawl.plans[path(0)] = [cut(50_000)]
    with pytest.raises(Partial, match="1 attempts: the connection ended before the file did"):
        run(crawl, tmp_path, 2, patience=Patience(attempts=1))
    crawl.files[path(0)] = content(99, SIZE)
    run(crawl, tmp_path, 2)
    assert right(crawl, tmp_path, range(2)) and crawl.ranges(path(0)) == [None, "bytes=50000-"]


def test_one_missing_file_costs_only_itself(crawl: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = crawl.files.pop(path(2))
    assert cli.main(command(crawl, tmp_path)) == 5
    assert f"1 of 8 files failed\n  got {name(2)}: HTTP 404 Not Found" in capsys.readouterr().err
    assert right(crawl, tmp_path, [0, 1, 3, 4, 5, 6, 7])
    asked = len(crawl.requests)
    crawl.files[path(2)] = kept
    assert cli.main(command(crawl, tmp_path)) == 0
    assert right(crawl, tmp_path) and len(crawl.requests) == asked + 1


def test_wrong_bytes_never_get_a_name(crawl: Server, tmp_path: Path) -> None:
    crawl.plans[path(1)] = [wrong] * 4
    with pytest.raises(Partial, match="its md5 is not the promised one"):
        run(crawl, tmp_path)
    assert right(crawl, tmp_path, [0, 2, 3, 4, 5, 6, 7])


def test_an_error_names_a_few_files(crawl: Server, tmp_path: Path) -> None:
    crawl.files = {LIST: crawl.files[LIST]}
    with pytest.raises(Partial, match=r"8 of 8 files failed(.|\n)*and 3 more"):
        run(crawl, tmp_path)


# mtime: an id that holds the second would differ from worker to worker
@pytest.mark.parametrize(
    "text", [b"<html>Log in to the network</html>", b"", gzip.compress(b"", mtime=0), gzip.compress(b"x" * 99, mtime=0)[:-9], b"\x1f\x8b\x08 damaged"]
)
def test_a_path_list_that_is_not_gzip(crawl: Server, tmp_path: Path, text: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    kept, crawl.files[LIST] = crawl.files[LIST], text
    assert cli.main(command(crawl, tmp_path)) == 4
    said = capsys.readouterr().err
    assert f"{crawl.url}{LIST}: is no path list" in said and repr(text[:16]) in said
    crawl.files[LIST] = kept
    run(crawl, tmp_path)
    assert right(crawl, tmp_path)


@pytest.mark.parametrize(
    "line", ["../../etc/passwd", "/etc/passwd", "crawl-data/../../x.gz", "http://other/x.gz", "a/b c.gz", "a/.ssh", "a/b.gz?key=1", "x.gz", "é/x.gz"]
)
def test_a_path_that_leaves_the_archive_is_refused(crawl: Server, tmp_path: Path, line: str) -> None:
    crawl.files[LIST] = gzip.compress(f"{path(0)}\n{line}\n".encode())
    with pytest.raises(EnvironmentFault, match="is no path list"):
        run(crawl, tmp_path)
    assert len(crawl.requests) == 1


def test_two_files_of_one_name_are_refused(crawl: Server, tmp_path: Path) -> None:
    crawl.files[LIST] = gzip.compress(b"a/x.warc.gz\nb/x.warc.gz\n")
    with pytest.raises(EnvironmentFault, match="two files of one name"):
        run(crawl, tmp_path)


def test_an_unknown_crawl_with_near_names(crawl: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crawl.files["collinfo.json"] = json.dumps([{"id": CRAWL}, {"id": "CC-MAIN-2013-20"}]).encode()
    assert cli.main([*command(crawl, tmp_path), "--crawl", "CC-MAIN-2024-52"]) == 2
    assert f"did you mean {CRAWL}" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())  # a misspelled crawl leaves no folder


@pytest.mark.parametrize("listed", [None, b"[]", b"not JSON", b'[{"name": "x"}]', b"7"])
def test_an_unknown_crawl_without_a_list_of_crawls(crawl: Server, tmp_path: Path, listed: bytes | None) -> None:
    if listed is not None:
        crawl.files["collinfo.json"] = listed
    with pytest.raises(ConfigError, match=r"no crawl CC-MAIN-2024-52(.|\n)*index.commoncrawl.org"):
        fetch("CC-MAIN-2024-52", "warc", 1, tmp_path, base=crawl.url, patience=QUICK)


def test_a_refusal_of_a_known_crawl_is_the_servers(crawl: Server, tmp_path: Path) -> None:
    crawl.files["collinfo.json"] = json.dumps([{"id": CRAWL}]).encode()
    crawl.plans[LIST] = [status(403)] * 8
    with pytest.raises(EnvironmentFault, match="HTTP 403"):
        run(crawl, tmp_path)
    crawl.files["collinfo.json"] = json.dumps([{"id": "CC-MAIN-2013-20"}]).encode()
    with pytest.raises(ConfigError, match="no crawl"):
        run(crawl, tmp_path)


def test_no_server_is_the_environment(crawl: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crawl.close()
    assert cli.main([*command(crawl, tmp_path), "--attempts", "1"]) == 4
    assert "cannot be fetched" in capsys.readouterr().err


def test_a_server_that_goes_away_is_the_environment_until_something_came(crawl: Server, tmp_path: Path) -> None:
    run(crawl, tmp_path, 1)
    crawl.close()
    with pytest.raises(Partial, match="1 of 2 files failed"):
        run(crawl, tmp_path, 2)
    (tmp_path / CRAWL / name(0)).unlink()
    with pytest.raises(EnvironmentFault, match="cannot be reached"):
        run(crawl, tmp_path, 2)


@pytest.mark.parametrize(
    "base",
    [
        "file:///tmp/",
        "ftp://host/",
        "/tmp",
        "",
        "http://",
        "https://host/?token=secret",
        "https://me:secret@host/#x",
        "http://me:secret@[x",
        "http://host:port",
    ],
)
def test_a_base_that_cannot_be_read(tmp_path: Path, base: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        fetch(CRAWL, "warc", 1, tmp_path, base=base)
    assert "secret" not in str(caught.value) and not any(tmp_path.iterdir())


@pytest.mark.parametrize("crawl_name", ["", "../x", "a/b", ".hidden", "a b"])
def test_what_is_no_name_of_a_crawl(tmp_path: Path, crawl_name: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a crawl"):
        fetch(crawl_name, "warc", 1, tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("more", [["--limit", "0"], ["--limit", "x"], ["--kind", "arc"], ["--workers", "-1"]])
def test_wrong_arguments(crawl: Server, tmp_path: Path, more: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*command(crawl, tmp_path), *more])
    assert stop.value.code == 2


def test_a_password_is_used_and_never_printed_or_written(crawl: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crawl.files.pop(path(1))
    base = crawl.url.replace("http://", "http://me:secret@")
    assert cli.main([*command(crawl, tmp_path), "--base", base, "--limit", "2"]) == 5
    got = capsys.readouterr()
    written = b"".join(file.read_bytes() for file in (tmp_path / CRAWL).iterdir())
    assert "secret" not in got.out + got.err and b"secret" not in written
    assert all("authorization" in headers for _, headers in crawl.requests)


def test_a_line_that_a_kill_cut_costs_one_file(crawl: Server, tmp_path: Path) -> None:
    run(crawl, tmp_path)
    record = tmp_path / CRAWL / RECORD
    record.write_bytes(record.read_bytes()[:-20])
    assert run(crawl, tmp_path) == Fetched(tmp_path / CRAWL, 1, 7)
    assert run(crawl, tmp_path).new == 0 and right(crawl, tmp_path)


def test_a_file_that_was_cut_or_deleted_comes_again(crawl: Server, tmp_path: Path) -> None:
    run(crawl, tmp_path)
    (tmp_path / CRAWL / name(3)).unlink()
    (tmp_path / CRAWL / name(4)).write_bytes(b"short")
    assert run(crawl, tmp_path).new == 2 and right(crawl, tmp_path)


def test_two_runs_do_not_write_one_folder(crawl: Server, tmp_path: Path) -> None:
    with lock(tmp_path / CRAWL), pytest.raises(EnvironmentFault, match="another run"):
        run(crawl, tmp_path)


def test_a_full_disk_is_the_environment(crawl: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run(crawl, tmp_path, 1)
    monkeypatch.setattr(part.Part, "append", lambda _: Full())
    assert cli.main(command(crawl, tmp_path)) == 4
    assert "No space left on device" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_the_environment(crawl: Server, tmp_path: Path) -> None:
    run(crawl, tmp_path, 1)
    (tmp_path / CRAWL / f"{name(1)}.part").mkdir()
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        run(crawl, tmp_path, 2)


def heed() -> None:
    """Ctrl-C is heard as in a terminal, also when the tests run in the background of a shell, which makes it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_is_130_and_the_next_run_goes_on(crawl: Server, tmp_path: Path) -> None:
    crawl.plans = {path(number): [stall(60_000)] for number in range(1, 3)}
    begun = [tmp_path / CRAWL / f"{name(number)}.part" for number in range(1, 3)]
    process = subprocess.Popen([sys.executable, "-m", "dolma.cli", *command(crawl, tmp_path)], cwd=PROJECT, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    end = time.monotonic() + 60
    while not all(file.exists() and file.stat().st_size == 60_000 for file in begun):
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command resumes" in said
    crawl.plans.clear()
    run(crawl, tmp_path)
    assert right(crawl, tmp_path)
    assert crawl.ranges(path(1)) == crawl.ranges(path(2)) == [None, "bytes=60000-"]


def test_a_larger_limit_than_the_crawl_has(crawl: Server, tmp_path: Path) -> None:
    assert run(crawl, tmp_path, 99, spread=1).new == 8


@given(total=st.integers(1, 500), seed=st.integers(-3, 3), data=st.data())
def test_a_spread_is_even_fixed_and_grows(total: int, seed: int, data: st.DataObject) -> None:
    names = [str(number) for number in range(total)]
    limit = data.draw(st.integers(1, total))
    chosen = choose(names, limit, seed)
    assert len(set(chosen)) == len(chosen) == limit and set(chosen) <= set(names)
    assert limit == total or chosen == choose(names, limit, seed)
    if limit > 1 and limit < total:
        assert choose(names, limit - 1, seed) == chosen[:-1]
        places = sorted(map(int, chosen))
        gaps = [b - a for a, b in zip(places, [*places[1:], places[0] + total], strict=True)]
        assert max(gaps) <= 2.7 * total / limit + 1  # three gaps at most, the longest at most the golden ratio squared of the mean; +1: rounding


def test_without_a_spread_the_first() -> None:
    assert choose(["a", "b", "c"], 2, None) == ["a", "b"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_live_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)
    progress = Transfers("crawl warc", 4, 1, stream=Terminal())
    assert progress.line().startswith("crawl warc 1/4  0 B  0.0 MB/s  eta -")
    progress.start = time.monotonic() - 10
    one = progress.running["a"] = Download("http://host/a", tmp_path / "a", QUICK, Event())
    one.received, one.at, one.length = 50_000_000, 60_000_000, 110_000_000
    assert progress.line() == "crawl warc 1/4  50 MB  5.0 MB/s  eta 0:54"  # 50 MB of this one and 2 x 110 MB at 5 MB/s
    one.length = 110_000_000_000
    assert progress.line().endswith("eta 18:19:48")
    progress.finished()
    assert progress.stream.getvalue().startswith("\r\x1b[Kcrawl warc 2/4")  # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_fetched_is_what_the_web_recipe_reads(crawl: Server, tmp_path: Path) -> None:
    def archive(*numbers: int) -> bytes:
        pages = [b"<html><body><main><p>The paragraph of page %d, with some words.</p></main></body></html>" % number for number in numbers]
        captures = [Capture(f"https://docs.example.org/{number}.html", page) for number, page in zip(numbers, pages, strict=True)]
        return b"".join([info("a"), *(response(capture, 1) for capture in captures)])

    crawl.files |= {path(number): archive(2 * number, 2 * number + 1) for number in range(3)}
    options = ["--env", str(write_env(tmp_path, "env")), "--pipelines", str(PIPELINES)]
    (tmp_path / "raw/web").mkdir(parents=True)
    (tmp_path / "raw/web/crawl-A-00000.warc.gz").write_bytes(archive(99))
    (tmp_path / "raw/web/edge_case.warc.gz").write_bytes(b"broken")
    argv = ["fetch", "commoncrawl", "--crawl", CRAWL, "--limit", "2", "--base", crawl.url, *options]
    assert cli.main(argv) == 0 and cli.main(["run", "source/web/extract", *options]) == 0
    rows = manifest.read(tmp_path / "env/source/web/extract").to_pylist()
    fetched = [f"web/{CRAWL}/{name(number)}" for number in range(2)]
    assert sorted(row["file"] for row in rows) == sorted([*fetched, *fetched, "web/crawl-A-00000.warc.gz"])
    assert {row["text"] for row in rows} == {f"The paragraph of page {number}, with some words." for number in (0, 1, 2, 3, 99)}


def test_a_fetched_archive_is_read(crawl: Server, tmp_path: Path, kit: Path) -> None:
    pytest.importorskip("fastwarc")
    from dolma.io.warc import warc

    real = kit / "web" / "real_capture_sample-0000.warc.gz"
    crawl.files[path(0)] = real.read_bytes()
    crawl.plans[path(0)] = [cut(50_000), cut(50_000)]
    run(crawl, tmp_path, 1)
    rows, expected = ([b.to_pylist() for b in warc(str(p), file="a")] for p in (tmp_path / CRAWL / name(0), real))
    assert rows == expected and rows[0]
