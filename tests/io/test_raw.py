"""Raw files at a URL: found as by path, brought whole, never taken for another, and no secret in a message."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.core import files
from dolma.core.errors import ConfigError, DataError, DolmaError, EnvironmentFault, Partial
from dolma.core.manifest import File
from dolma.io import raw
from tests.messages import parts
from tests.server import Web, serving

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
NAMES = ["a.warc.gz", "web/crawl-1.warc.gz", "web/crawl-2.warc.gz", "web/deep/er/crawl-3.warc.gz", "web/a name, with 100%.jsonl", "web-more/x.gz", "code/x.py"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1000 + number))
    return tmp_path / "raw"


@pytest.fixture
def web(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(raw, "FIRST_WAIT", 0.01)
    with serving(folder) as running:
        yield running


def file_of(one: raw.Remote) -> File:
    return File(name=one.name, rows=0, bytes=one.bytes, sha256=one.identity)


def one(web: Web, name: str = "a.warc.gz") -> raw.Remote:
    return raw.find(web.url, [name], "test")[0]


@pytest.mark.parametrize(
    "pattern",
    [
        "*.gz",
        "web/crawl-*.warc.gz",
        "web/crawl-[2-9]*",
        "web/crawl-?.warc.gz",
        "w*/**/*.gz",
        "**/*.gz",
        "web/**/*.gz",
        "web/*",
        "a.warc.gz",
        "web/a name, with 100%.jsonl",
    ],
)
def test_a_glob_finds_at_a_url_what_it_finds_by_path(folder: Path, web: Web, pattern: str) -> None:
    by_path = files.find(folder, [pattern], "test")
    expected = [(str(path.relative_to(folder)), path.stat().st_size) for path in by_path]
    for root in (web.url, f"{web.url}/", f"file://{folder}"):
        found = raw.find(root, [pattern], "test")
        assert [(one.name, one.bytes) for one in found] == expected
        for one, path in zip(found, by_path, strict=True):
            with raw.local(one.url, file_of(one)) as local:
                assert local.read_bytes() == path.read_bytes() and local.suffix == path.suffix
            assert not local.exists() and not local.parent.exists()


def test_files_in_memory_are_found() -> None:
    import fsspec

    fsspec.filesystem("memory").pipe_file("/corpus/web/x.jsonl", b"{}\n")
    found = raw.find("memory://corpus", ["web/*.jsonl"], "test")
    assert [(one.name, one.bytes) for one in found] == [("web/x.jsonl", 3)]
    with raw.local(found[0].url, file_of(found[0])) as path:
        assert path.read_bytes() == b"{}\n"


def test_several_patterns_give_each_file_once_in_order(web: Web) -> None:
    assert [one.name for one in raw.find(web.url, ["web/crawl-2*", "*.gz", "web/*.gz"], "test")] == ["a.warc.gz", "web/crawl-1.warc.gz", "web/crawl-2.warc.gz"]


@pytest.mark.parametrize(("pattern", "near"), [("web/crawl*.warc", "web/crawl-1.warc.gz"), ("web/craw-1.warc.gz", "web/crawl-1.warc.gz"), ("wob/*.gz", "web/")])
def test_a_pattern_without_files_names_the_nearest(web: Web, pattern: str, near: str) -> None:
    with pytest.raises(DataError) as caught:
        raw.find(web.url, [pattern], "source/web")
    said = parts(str(caught.value), "no file matches")
    assert said["where"] == "source/web" and pattern in said["what"] and near in said["mend"]


def test_what_the_server_says_is_the_identity_and_no_byte_is_read(folder: Path, web: Web) -> None:
    before = {one.name: one.identity for one in raw.find(web.url, ["**/*.gz"], "test")}
    assert len(set(before.values())) == len(before) == 5
    assert not any(key.startswith("GET") and key.endswith(".gz") for key in web.asked)
    os.utime(folder / "a.warc.gz", (1, 1))
    (folder / "web/crawl-1.warc.gz").write_bytes(b"x")
    after = {one.name: one.identity for one in raw.find(web.url, ["**/*.gz"], "test")}
    assert [name for name in before if before[name] != after[name]] == ["a.warc.gz", "web/crawl-1.warc.gz"]


def test_a_burst_of_errors_and_cut_answers_is_outlived(folder: Path, web: Web) -> None:
    web.refuse = [503, 503]
    planned = one(web)  # each HEAD that fails is followed by a GET
    web.refuse, web.cut = [503, 429], [10, 0, 999]
    with pytest.raises(Partial), raw.local(planned.url, file_of(planned)):  # five answers, all bad
        pass
    web.refuse, web.cut = [503], [10, 999]
    with raw.local(planned.url, file_of(planned)) as path:
        assert path.read_bytes() == (folder / "a.warc.gz").read_bytes()


@pytest.mark.parametrize(
    ("status", "kind", "tries", "words"),
    [
        (404, DataError, 1, "is not there"),
        (403, Partial, 1, "renew"),
        (401, Partial, 1, "renew"),
        (500, Partial, 5, "cannot be read"),
        (400, Partial, 1, "cannot be read"),
    ],
)
def test_what_asking_again_cannot_mend_is_asked_once(web: Web, status: int, kind: type[DolmaError], tries: int, words: str) -> None:
    planned = one(web)
    web.status["/a.warc.gz"] = status
    before = web.asked["GET /a.warc.gz"]
    with pytest.raises(kind, match=words) as caught, raw.local(planned.url, file_of(planned)):
        pass
    assert parts(str(caught.value)) and web.url in str(caught.value)
    assert web.asked["GET /a.warc.gz"] - before == tries


def test_a_file_that_changed_since_the_plan_is_refused(folder: Path, web: Web) -> None:
    planned = one(web)
    for content in (os.urandom(planned.bytes), b"shorter", os.urandom(5000)):
        (folder / "a.warc.gz").write_bytes(content)
        os.utime(folder / "a.warc.gz", (7, time.time() + 100))
        with pytest.raises(DataError, match="changed since the plan"), raw.local(planned.url, file_of(planned)):
            pass


def test_a_server_that_is_down_or_forbids_is_a_fault_of_the_environment(web: Web, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.status = {"/": 403, "/web/": 500}
    for pattern in ("*.gz", "web/*.gz"):
        with pytest.raises(EnvironmentFault) as caught:
            raw.find(web.url, [pattern], "source/web")
        assert parts(str(caught.value))["where"] == "source/web"
    with serving(folder) as gone:
        url = gone.url
    for pattern in ("*.gz", "a.warc.gz", "**/x"):
        with pytest.raises(EnvironmentFault, match="cannot be read"):
            raw.find(url, [pattern], "source/web")


def test_a_server_that_falls_silent_is_asked_again(folder: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "SILENCE", 0.5)
    planned = one(web)
    web.stall = [3.0]
    with raw.local(planned.url, file_of(planned)) as path:
        assert path.read_bytes() == (folder / "a.warc.gz").read_bytes()
    assert web.asked["GET /a.warc.gz"] >= 2


def test_a_listed_folder_that_cannot_be_read_is_an_error_and_not_left_out(web: Web) -> None:
    web.status = {"/web/deep/": 500}
    with pytest.raises(EnvironmentFault, match="500"):
        raw.find(web.url, ["**/*.gz"], "test")


SECRETS = [
    "https://me:hunter2secret@example.org/x",
    "https://hunter2secret@example.org/x",
    "https://example.org/x?sig=hunter2secret",
    "s3://key:hunter2secret@bucket/x",
    "https://me:hunter2@'hunter2@hunter2@example.org:8080/x",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_secret_in_a_url_is_refused_and_not_printed(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        raw.find(url, ["*"], "source/web")
    assert "hunter2" not in str(caught.value) and parts(str(caught.value))
    assert "hunter2" not in raw.redacted(f"GET {url} failed, url='{url}'")


@pytest.mark.parametrize("before", [0, 270, 280])
def test_a_secret_of_the_environment_is_not_printed(web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, before: int) -> None:
    monkeypatch.setenv("MY_SECRET_ACCESS_KEY", "hunter2secret")
    planned = one(web)

    def refuse(*_: object, **__: object) -> None:
        raise OSError("x" * before + "denied for hunter2secret at https://u:p4ssw0rd@host/x?token=abc, again at http://k@h/")

    monkeypatch.setattr(raw._connect(web.url, "test")[0], "get_file", refuse)
    with pytest.raises(Partial) as caught, raw.local(planned.url, file_of(planned)):
        pass
    said = str(caught.value) + caplog.text
    assert "denied for" in said and not any(secret in said for secret in ("hunter2", "p4ssw0rd", "token=abc", "k@"))
    assert ("$MY_SECRET_ACCESS_KEY at" in said) == (before == 0) and caught.value.__cause__ is None


@given(st.text(alphabet="abc:@/?=&. 'é", max_size=20), st.text(alphabet="XYZ", min_size=6, max_size=9), st.sampled_from(["https", "s3", "ftp"]))
def test_no_password_survives(text: str, password: str, scheme: str) -> None:
    assert password not in raw.redacted(f"{text} {scheme}://user:{password}@host/path {text}")
    assert password not in raw.redacted(f"{text} {scheme}://host/path?key={password}&x=1 {text}")


def test_a_url_is_printed_without_its_keys_and_with_its_place() -> None:
    assert raw.redacted("https://me:secret@host:8080/a/b.gz?X-Amz-Signature=secret#secret") == "https://host:8080/a/b.gz?..."
    assert raw.redacted("see https://host/a#secret, s3://bucket/a#1.gz, abfs://box@host/a") == "see https://host/a#... s3://bucket/a#1.gz, abfs://box@host/a"


def test_a_missing_package_and_an_unknown_scheme_say_what_to_do() -> None:
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(EnvironmentFault) as caught:
            raw.find("s3://bucket/raw", ["*"], "source/web")
        assert "s3fs" in parts(str(caught.value))["mend"]
    with pytest.raises(ConfigError) as unknown:
        raw.find("htps://example.org/raw", ["*"], "source/web")
    assert "https" in parts(str(unknown.value))["mend"]
