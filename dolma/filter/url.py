"""What a page's address says about it: hits in lists, by class of rule; nothing decided."""

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

import pyarrow as pa

from dolma.core.files import PinnedFile
from dolma.core.schema import append
from dolma.core.step import step
from dolma.filter import lists
from dolma.filter.lists import Hashed, Kind, Package

COLUMNS = (
    "url_domains", "url_strict", "url_hard", "url_soft", "url_listed_domains", "url_listed", "url_banned", "url_soft_banned", "url_subwords"
)  # fmt: skip
_HOST = re.compile(r"^[a-z][a-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#:]*)")
_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://(?:www\.)?")
_WORD = re.compile(r"[^\W_]+")


@step(needs=("url",), adds=dict.fromkeys(COLUMNS, pa.int32()), version=2)
def tag_url(
    batch: pa.RecordBatch,
    *,
    domains: tuple[str, ...] = (),
    strict_words: tuple[str, ...] = (),
    hard_words: tuple[str, ...] = (),
    soft_words: tuple[str, ...] = (),
    package: Package | None = None,
    files: dict[Kind, PinnedFile] = {},  # noqa: B006  # pydantic copies it
) -> pa.RecordBatch:
    """Count what an address has in common with nine lists, in any case but for `listed`; NULL where there is no address.

    The column of list x is `url_x`. Words are counted once each, however often they occur.

    - domains, listed_domains: 1 where the host (without `www.`) or a domain above it is in the list.
    - listed: 1 where the address is in the list, as it stands or without its scheme and `www.`. (DataTrove and the Olmo 3 configuration compare it with its
      scheme, which the entries of that list do not have, so that the rule never fires there.)
    - strict: entries that occur anywhere in the address after `-` and `.` are taken out of both.
    - hard, soft: entries that occur as whole words, between characters that are no letters or digits of any script.
    - banned, soft_banned: entries that are a whole run of ASCII letters and digits; other characters in an entry do not count.
    - subwords: entries that occur anywhere after all but ASCII letters and digits is taken out of both.

    Args:
        domains, strict_words, hard_words, soft_words: entries of four of the lists.
        package: whose lists are listed_domains, listed, banned, soft_banned and subwords.
        files: a list file each, `{file: /lists/hard.txt, sha256: ...}`, one entry a line, added to the entries above and in place of the package's.
    Source: RefinedWeb, arXiv:2306.01116 G.1, and FineWeb, arXiv:2406.17557 3.3, in the classes of the Olmo 3 all-dressed configuration.
    """
    inline = {"domains": domains, "strict": strict_words, "hard": hard_words, "soft": soft_words}
    found = _lists(tuple(inline.items()), package.sha256 if package else "", tuple(sorted(files.items())))
    urls = batch.column("url").to_pylist()
    there = [url for url in urls if url is not None]
    columns = {}
    for name, hits in zip(COLUMNS, found.count(there), strict=True):
        values = iter(hits)
        columns[name] = pa.array([None if url is None else int(next(values)) for url in urls], pa.int32())
    return append(batch, columns)


def host(url: str) -> str:
    """The host of an address in lower case, without `www.`, user or port; "" where there is none."""
    found = _HOST.match(url.strip().lower())
    return lists.plain_host(found.group(1)) if found else ""


class _Lists:
    """All lists in the form that they are searched in."""

    def __init__(self, content: dict[str, bytes]) -> None:
        entries = {kind: lists.entries(content[kind]) for kind in ("strict", "hard", "soft", "banned", "soft_banned", "subwords")}
        self.domains, self.listed_domains = Hashed(content["domains"], fold=True), Hashed(content["listed_domains"], fold=True)
        self.listed = Hashed(content["listed"])
        self.strict = _distinct(word.lower().replace("-", "").replace(".", "") for word in entries["strict"])
        self.hard, self.soft = (_distinct(_spaced(word) for word in entries[kind]) for kind in ("hard", "soft"))
        self.banned, self.soft_banned = (frozenset(_distinct(map(lists.squeezed, entries[kind]))) for kind in ("banned", "soft_banned"))
        self.subwords = _distinct(map(lists.squeezed, entries["subwords"]))

    def count(self, urls: list[str]) -> list[Iterable[int]]:
        """Hits of every address in every list, in the order of `COLUMNS`."""
        above = [_above(host(url)) for url in urls]
        plain = [unquote(url).lower() for url in urls]
        spaced = [_spaced(url) for url in plain]
        parts = [lists.parts(url) for url in plain]
        squeezed = [lists.squeezed(url) for url in plain]
        bare = [url.replace("-", "").replace(".", "") for url in plain]
        return [
            _any(self.domains, above),
            [sum(word in url for word in self.strict) for url in bare],
            [sum(word in url for word in self.hard) for url in spaced],
            [sum(word in url for word in self.soft) for url in spaced],
            _any(self.listed_domains, above),
            _any(self.listed, [[url, _SCHEME.sub("", url)] for url in urls]),
            [len(found & self.banned) for found in parts],
            [len(found & self.soft_banned) for found in parts],
            [sum(word in url for word in self.subwords) for url in squeezed],
        ]


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word.strip()))


def _spaced(text: str) -> str:
    """The words of a text in lower case, each between two spaces."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


def _above(name: str) -> list[str]:
    """A host and all domains above it."""
    labels = name.split(".")
    return [".".join(labels[k:]) for k in range(len(labels))]


def _any(listed: Hashed, candidates: list[list[str]]) -> list[int]:
    """1 for each row of which one candidate is in the list."""
    flat = iter(listed.hold([text for row in candidates for text in row]).tolist())
    return [int(any([next(flat) for _ in row])) for row in candidates]


@lru_cache(4)
def _lists(inline: tuple[tuple[str, tuple[str, ...]], ...], digest: str, files: tuple[tuple[Kind, PinnedFile], ...]) -> _Lists:
    """The lists of one recipe, read once a process."""
    content = {kind: b"" for kind in ("domains", "strict", "hard", "soft", *lists.ASSETS)}
    if digest:
        content.update(lists.bundled(digest))
    for kind, file in files:
        content[kind] = lists.own(file)
    for kind, words in inline:
        content[kind] += b"\n" + (lists.hosts(words) if kind == "domains" else "\n".join(words).encode())
    return _Lists(content)
