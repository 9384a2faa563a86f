"""One download against a server that misbehaves: at the end all bytes are right, or the error says what was seen, and nothing stands under the name."""

import json
import random
import time
from base64 import b64encode
from email.utils import formatdate
from hashlib import sha1, sha256
from pathlib import Path
from threading import Event, Timer
from urllib.request import Request
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dolma.fetch.http import Download, Gone, Patience, Stopped, _Redirects
from tests.fetch.server import (
    Behaviour,
    Handler,
    Server,
    careless,
    chunked,
    content,
    cut,
    cut_chunk,
    drip,
    endless,
    good,
    md5,
    shifted,
    stall,
    status,
    whole,
    with_headers,
    wrong,
)

SIZE = 300_000
NAME = "data/file.gz"
QUICK = Patience(attempts=4, timeout=20, first=0.001, most=0.004)  # a good reply is never late, however busy the machine is
SHORT = QUICK.model_copy(update={"attempts": 3, "timeout": 1.0})


def download(server: Server, folder: Path, *plan: Behaviour, patience: Patience = QUICK, body: bytes | None = None) -> Download:
    server.files.setdefault(NAME, content(1, SIZE) if body is None else body)
    server.plans[NAME] = list(plan)
    return Download(server.url + NAME, folder / "file.gz", patience, Event())


def fetched(one: Download) -> bytes:
    one.run()
    path = one.part.path
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return path.read_bytes()


def given_up(one: Download) -> str:
    with pytest.raises(Gone) as caught:
        one.run()
    assert not one.part.path.exists()
    return str(caught.value)


def test_a_good_server_is_asked_once(server: Server, tmp_path: Path) -> None:
    one = download(server, tmp_path)
    assert fetched(one) == server.files[NAME] and server.ranges(NAME) == [None]
    assert (one.received, one.at, one.length) == (SIZE, SIZE, SIZE)


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_body_goes_on_where_it_stopped(server: Server, tmp_path: Path, reset: bool) -> None:
    one = download(server, tmp_path, cut(100_000), cut(50_000, reset=reset))
    assert fetched(one) == server.files[NAME]
    ranges = server.ranges(NAME)
    assert ranges[:2] == [None, "bytes=100000-"] and len(ranges) == 3
    assert server.sent[NAME] <= SIZE + (50_000 if reset else 0)  # what a torn connection held may be lost on the way


def test_another_process_goes_on_too(server: Server, tmp_path: Path) -> None:
    assert "the connection ended" in given_up(download(server, tmp_path, cut(100_000), patience=Patience(attempts=1)))
    assert fetched(download(server, tmp_path)) == server.files[NAME]
    assert server.ranges(NAME) == [None, "bytes=100000-"] and server.sent[NAME] == SIZE


def test_a_whole_part_is_checked_and_named_without_a_request(server: Server, tmp_path: Path) -> None:
    given_up(download(server, tmp_path, cut(100_000), patience=Patience(attempts=1)))
    (tmp_path / "file.gz.part").write_bytes(server.files[NAME])
    assert fetched(download(server, tmp_path)) == server.files[NAME]
    assert len(server.requests) == 1


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    assert fetched(download(server, tmp_path, cut(100_000), whole)) == server.files[NAME]
    assert server.sent[NAME] == SIZE + 100_000


def test_after_416_it_is_begun_again(server: Server, tmp_path: Path) -> None:
    assert fetched(download(server, tmp_path, cut(100_000), status(416))) == server.files[NAME]
    assert server.ranges(NAME) == [None, "bytes=100000-", None]


@pytest.fixture
def nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose tags are no checksums: nothing else shows that pieces of two files were joined."""
    monkeypatch.setattr(Handler, "version_string", lambda _: "nginx")


@pytest.mark.usefixtures("nginx")
@pytest.mark.parametrize("answer", [good, careless], ids=["If-Range", "no If-Range"])
@pytest.mark.parametrize("size", [SIZE, SIZE + 1000, 50_000])
def test_a_file_that_changed_is_begun_again(server: Server, tmp_path: Path, answer: Behaviour, size: int) -> None:
    given_up(download(server, tmp_path, cut(100_000), patience=Patience(attempts=1)))
    server.files[NAME] = content(2, size)
    assert fetched(download(server, tmp_path, answer)) == content(2, size)


@pytest.mark.usefixtures("nginx")
@pytest.mark.parametrize("start", [99_999, 100_001, 0])
def test_the_rest_from_another_place_is_not_taken(server: Server, tmp_path: Path, start: int) -> None:
    assert fetched(download(server, tmp_path, cut(100_000), shifted(start))) == server.files[NAME]
    assert server.ranges(NAME) == [None, "bytes=100000-", None]


def test_wrong_bytes_of_the_right_length_are_found_by_the_checksum(server: Server, tmp_path: Path) -> None:
    assert fetched(download(server, tmp_path, wrong, wrong)) == server.files[NAME]
    assert server.ranges(NAME) == [None, None, None]
    assert "its md5 is not the promised one" in given_up(download(server, tmp_path / "again", wrong, wrong, wrong, wrong))


def test_a_wrong_rest_spoils_nothing(server: Server, tmp_path: Path) -> None:
    assert fetched(download(server, tmp_path, cut(100_000), wrong)) == server.files[NAME]
    assert server.ranges(NAME) == [None, "bytes=100000-", None]


def sums(body: bytes) -> dict[str, str]:
    def base64(digest: bytes) -> str:
        return b64encode(digest).decode()

    return {
        "Content_MD5": base64(bytes.fromhex(md5(body))),
        "x_amz_checksum_sha256": base64(sha256(body).digest()),
        "x_amz_checksum_sha1": base64(sha1(body).digest()),
        "x_amz_checksum_crc32": base64(crc32(body).to_bytes(4, "big")),
    }


@pytest.mark.parametrize("header", sums(b""))
def test_each_checksum_is_compared(server: Server, tmp_path: Path, header: str) -> None:
    body = content(1, SIZE)
    assert fetched(download(server, tmp_path, with_headers(**{header: sums(body)[header]}))) == body
    assert len(server.requests) == 1
    (tmp_path / "file.gz").unlink()
    bad = with_headers(**{header: sums(content(2, SIZE))[header]})
    assert "is not the promised one" in given_up(download(server, tmp_path, bad, bad, bad, bad))


def test_a_tag_that_is_no_checksum_is_not_taken_for_one(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    plan = [
        with_headers(ETag=f'"{md5(b"parts")}-12"'),  # an upload in parts
        with_headers(ETag=f'"{md5(b"key")}"', x_amz_server_side_encryption="aws:kms"),
        with_headers(x_amz_checksum_sha256=sums(b"parts")["x_amz_checksum_sha256"], x_amz_checksum_type="COMPOSITE"),
    ]
    for number, answer in enumerate(plan):
        assert fetched(download(server, tmp_path / str(number), answer)) == server.files[NAME]
    request.getfixturevalue("nginx")
    assert fetched(download(server, tmp_path / "nginx", with_headers(ETag=f'"{md5(b"name and date")}"'))) == server.files[NAME]
    assert len(server.requests) == 4


def test_a_stall_ends_the_attempt(server: Server, tmp_path: Path) -> None:
    assert fetched(download(server, tmp_path, stall(100_000), stall(0), patience=SHORT)) == server.files[NAME]
    assert server.ranges(NAME) == [None, "bytes=100000-", "bytes=100000-"]
    said = given_up(download(server, tmp_path / "again", stall(0), stall(0), patience=SHORT.model_copy(update={"attempts": 2})))
    assert said == "2 attempts: nothing came within the timeout"


def test_a_drip_is_a_stall(server: Server, tmp_path: Path) -> None:
    assert fetched(download(server, tmp_path, drip, patience=SHORT)) == server.files[NAME]
    assert len(server.requests) == 2


class Waits(list[float]):
    """Stands for waiting: notes how long."""

    def __call__(self, seconds: float) -> bool:
        self.append(seconds)
        return False


def test_waits_grow_and_obey_the_server(server: Server, tmp_path: Path) -> None:
    one = download(server, tmp_path, *[status(503)] * 6, status(429, Retry_After=120), patience=Patience(attempts=9, first=1.0, most=8.0))
    one.wait = waits = Waits()
    assert fetched(one) == server.files[NAME]
    assert len(waits) == 7 and waits[6] == 120
    assert all(most / 2 <= wait <= most for wait, most in zip(waits[:6], [1, 2, 4, 8, 8, 8], strict=True))


def test_a_date_to_come_back_is_obeyed(server: Server, tmp_path: Path) -> None:
    one = download(server, tmp_path, status(503, Retry_After=formatdate(time.time() + 100, usegmt=True)), status(503, Retry_After="soon"))
    one.wait = waits = Waits()
    fetched(one)
    assert 50 < waits[0] <= 100 and waits[1] < 1


def test_a_pause_that_is_too_long_ends_the_file(server: Server, tmp_path: Path) -> None:
    assert "asks for a pause of 86,400 s" in given_up(download(server, tmp_path, status(503, Retry_After=86400)))
    assert len(server.requests) == 1


def test_given_up_says_all_that_was_seen(server: Server, tmp_path: Path) -> None:
    said = given_up(download(server, tmp_path, status(503), status(500), cut(10), status(503)))
    assert said == "4 attempts: HTTP 503 Service Unavailable; HTTP 500 Internal Server Error; the connection ended before the file did"
    assert len(server.requests) == 4


@pytest.mark.parametrize("code", [400, 401, 404, 410])
def test_what_will_not_come_is_not_asked_for_again(server: Server, tmp_path: Path, code: int) -> None:
    assert f"HTTP {code}" in given_up(download(server, tmp_path, status(code)))
    assert len(server.requests) == 1


def test_nobody_there(server: Server, tmp_path: Path) -> None:
    one = download(server, tmp_path)
    server.close()
    with pytest.raises(Gone, match="4 attempts: Connection refused") as caught:
        one.run()
    assert caught.value.network and caught.value.status is None


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "gopher://127.0.0.1/", "http://[x"])
def test_a_redirect_to_another_scheme_is_refused(server: Server, tmp_path: Path, to: str) -> None:
    assert "redirect" in given_up(download(server, tmp_path, status(302, Location=to)))
    assert len(server.requests) == 1 and not any(tmp_path.iterdir())


def test_a_redirect_out_of_encryption_is_refused() -> None:
    with pytest.raises(Gone, match="from https to http"):
        _Redirects().redirect_request(Request("https://host/a"), None, 301, "", {}, "http://host/a")
    assert _Redirects().redirect_request(Request("http://host/a"), None, 301, "", {}, "https://host/a") is not None


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:text/plain,x"])
def test_no_other_scheme_is_read(tmp_path: Path, url: str) -> None:
    with pytest.raises(Gone, match="unknown url type"):
        Download(url, tmp_path / "x", QUICK, Event()).run()
    assert not any(tmp_path.iterdir())


def test_a_redirect_is_followed_and_takes_no_password_along(server: Server, tmp_path: Path) -> None:
    server.files["other"] = content(3, SIZE)
    one = download(server, tmp_path, status(307, Location=server.url + "other"))
    one.url = one.url.replace("http://", "http://me:a%20secret@")
    assert fetched(one) == content(3, SIZE)
    asked = dict(server.requests)
    assert asked[NAME]["authorization"] == f"Basic {b64encode(b'me:a secret').decode()}" and "authorization" not in asked["other"]


def test_a_circle_of_redirects_ends(server: Server, tmp_path: Path) -> None:
    assert "redirect" in given_up(download(server, tmp_path, *[status(302, Location=server.url + NAME)] * 30))


def test_a_chunked_body_has_an_end_to_check(server: Server, tmp_path: Path) -> None:
    assert fetched(download(server, tmp_path, cut_chunk, chunked)) == server.files[NAME]
    assert server.ranges(NAME) == [None, None]  # there is no tag to continue under


def test_a_body_whose_end_cannot_be_told_is_refused(server: Server, tmp_path: Path) -> None:
    assert "no length" in given_up(download(server, tmp_path, endless))


def test_an_empty_file(server: Server, tmp_path: Path) -> None:
    assert fetched(download(server, tmp_path, body=b"")) == b""


@pytest.mark.parametrize("note", [b"", b"{}", b'{"length": 5', b'{"length": 5, "etag": null, "modified": null, "sums": {}}'])
def test_bytes_of_an_unknown_state_are_not_continued(server: Server, tmp_path: Path, note: bytes) -> None:
    (tmp_path / "file.gz.part").write_bytes(b"old bytes")
    (tmp_path / "file.gz.part.json").write_bytes(note)
    assert fetched(download(server, tmp_path)) == server.files[NAME]
    assert server.ranges(NAME) == [None]


def test_a_weak_tag_is_no_condition(server: Server, tmp_path: Path) -> None:
    def weak(one) -> None:
        one.head(200, {"Content-Length": SIZE, "ETag": 'W/"x"'})
        one.body(server.files[NAME][:1000])
        one.close_connection = True

    assert fetched(download(server, tmp_path, weak)) == server.files[NAME]
    assert server.ranges(NAME) == [None, None]


def test_an_interrupt_stops_between_blocks_and_in_a_pause(server: Server, tmp_path: Path) -> None:
    one = download(server, tmp_path, drip, patience=Patience(attempts=1))
    Timer(0.2, one.stop.set).start()
    with pytest.raises(Stopped):
        one.run()
    one = download(server, tmp_path, status(503, Retry_After=600), patience=Patience(attempts=2))
    Timer(0.2, one.stop.set).start()
    with pytest.raises(Stopped):
        one.run()


KINDS = [good, wrong, whole, careless, chunked, cut_chunk, status(503, Retry_After=0), status(416), status(500), None]


def moody(server: Server, kind: Behaviour | None, place: int) -> Behaviour:
    """A behaviour of the list, a cut at a place, or a change of the file at that moment."""
    if kind is None:
        return cut(place, reset=place % 2 == 0)

    def change(one) -> None:
        if place % 7 == 0:
            server.files[NAME] = content(place, SIZE)
        answer = good if kind is careless and "If-Range" not in one.headers else kind
        answer(one)

    return change


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, SIZE)), max_size=12), stops=st.integers(1, 5))
def test_whatever_happens_only_right_bytes_get_the_name(server: Server, tmp_path: Path, plan: list[tuple[Behaviour | None, int]], stops: int) -> None:
    path = tmp_path / "any.gz"
    path.unlink(missing_ok=True)
    server.files[NAME] = content(1, SIZE)
    server.plans[NAME] = [moody(server, kind, place) for kind, place in plan]
    for _ in range(len(plan) + 1):  # each run gives up after `stops` requests, and the next goes on
        try:
            state = Download(server.url + NAME, path, QUICK.model_copy(update={"attempts": stops}), Event()).run()
            break
        except Gone:
            assert not path.exists()
    assert path.read_bytes() == server.files[NAME] and state.length in (SIZE, None)
    assert [file.name for file in tmp_path.iterdir()] == ["any.gz"]


def test_jitter_spreads_clients(server: Server, tmp_path: Path) -> None:
    random.seed(0)
    seen = set()
    for number in range(5):
        one = download(server, tmp_path / str(number), status(503), patience=Patience(attempts=2))
        one.wait = waits = Waits()
        fetched(one)
        seen |= set(waits)
    assert len(seen) == 5


def test_the_state_beside_a_part_holds_no_address(server: Server, tmp_path: Path) -> None:
    given_up(download(server, tmp_path, cut(1000), patience=Patience(attempts=1)))
    said = json.loads((tmp_path / "file.gz.part.json").read_text())
    assert said == {"length": SIZE, "etag": f'"{md5(server.files[NAME])}"', "modified": None, "sums": {"md5": md5(server.files[NAME])}}
