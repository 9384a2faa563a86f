"""Address rules, class by class."""

import pyarrow as pa
import pytest

from dolma.filter.url import host, tag_url

LISTS = {"domains": ["bad.com", "www.worse.org"], "strict_words": ["freepills"], "hard_words": ["casino"], "soft_words": ["poker", "bet", "crack"]}


def measured(*urls: str | None) -> list[tuple[int | None, ...]]:
    made = tag_url(pa.RecordBatch.from_arrays([pa.array(urls, pa.string())], ["url"]), **{name: tuple(value) for name, value in LISTS.items()})
    return list(zip(*(made.column(name).to_pylist() for name in ("url_domains", "url_strict", "url_hard", "url_soft")), strict=True))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://good.com/page", (0, 0, 0, 0)), ("https://bad.com/page", (1, 0, 0, 0)),
        ("http://WWW.Bad.com:80/", (1, 0, 0, 0)), ("https://shop.bad.com/", (1, 0, 0, 0)),
        ("https://notbad.com/", (0, 0, 0, 0)), ("https://worse.org", (1, 0, 0, 0)),
        ("https://user:x@bad.com/", (1, 0, 0, 0)), ("https://good.com/?u=http://bad.com/", (0, 0, 0, 0)),
        ("https://x.com/free-pills", (0, 1, 0, 0)), ("https://f.ree-pil.ls/", (0, 1, 0, 0)),
        ("https://x.com/the-casino/", (0, 0, 1, 0)), ("https://x.com/casinos/", (0, 0, 0, 0)),
        ("https://x.com/c%61sino", (0, 0, 1, 0)), ("https://x.com/poker_bet?q=poker", (0, 0, 0, 2)), (None, (None,) * 4),
        ("", (0, 0, 0, 0)), ("not an address", (0, 0, 0, 0)),
    ],
)  # fmt: skip
def test_hits_of_golden_addresses(url: str | None, expected: tuple[int | None, ...]) -> None:
    assert measured(url) == [expected]


def test_host_of_odd_addresses() -> None:
    assert [host(url) for url in ("http://Example.COM./x", "//no.scheme", "http://", "ftp://a.b#c")] == ["example.com", "", "", "a.b"]


def test_no_rows_give_no_rows() -> None:
    assert measured() == []
