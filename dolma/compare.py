"""Extractors side by side on pages whose main text is known: how much of it each one finds, how much else, and at what cost."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import Any, get_args

from dolma.core.errors import ConfigError, DataError
from dolma.extract.page import Extractor

EXTRACTORS: tuple[str, ...] = get_args(Extractor)
FIELDS = ("id", "url", "text", "gold_text", "html", "file", "warc", "warc_record_id")
LONGEST_LINE = 256 << 20  # bytes: a page of 64 MB, the most that the reader `warc` takes, each byte of it escaped


@dataclass(frozen=True)
class Known:
    """A page and the main text that it should give; `charset` is what its HTTP header said."""

    id: str
    html: bytes
    charset: str | None
    text: str


@dataclass(frozen=True)
class Score:
    """What one extractor made of one page: the text (None: it failed, with the reason), how its words overlap with the known ones, and CPU seconds."""

    id: str
    text: str | None
    error: str | None
    precision: float
    recall: float
    f1: float
    cpu: float


def known_pages(path: Path) -> list[Known]:
    """The pages of a JSONL file (plain or compressed, as the reader `jsonl` takes it) that have a known text.

    A line has `id` (or `url`), `text` (or `gold_text`; lines where it is null or empty are left out), and the page: `html` (a string), `file` (of HTML) or
    `warc` and `warc_record_id`; the two files are looked for beside the JSONL.

    Raises:
        ConfigError: there is no such file.
        DataError: a line is no object of these strings, has no page or names one that is not there; a file is damaged; no line has a known text.
    """
    if not path.is_file():
        raise ConfigError(str(path), "no such file", got="nothing", expected="a JSONL file of pages", mend="name a file of {id, html, text} lines")
    found: list[Known] = []
    wanted: dict[str, dict[str, tuple[str, str]]] = {}
    for place, row in _rows(path):
        name, text = row.get("id") or row.get("url") or place, row.get("text") or row.get("gold_text")
        if not text:
            continue
        if row.get("html") is not None:
            found.append(Known(name, row["html"].encode("utf-8", "replace"), None, text))
        elif row.get("file"):
            found.append(Known(name, _beside(path, row["file"], place).read_bytes(), None, text))
        elif row.get("warc") and row.get("warc_record_id"):
            _beside(path, row["warc"], place)
            wanted.setdefault(row["warc"], {})[row["warc_record_id"].strip("<> ").removeprefix("urn:uuid:")] = (name, text)
        else:
            raise DataError(f"{path}, {place}", "no page", got=", ".join(row), expected="html, file, or warc and warc_record_id", mend="add one of them")
    for archive, records in wanted.items():
        found += _archived(path.parent / archive, records)
    if not found:
        raise DataError(str(path), "no page with a known text", got="0 pages", expected="at least 1", mend="give lines `text` or `gold_text`")
    return found


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The object of each line, and the place of the line in the decompressed file."""
    from dolma.io.jsonl import decoded, lines

    for offset, line in lines(path, str(path), LONGEST_LINE):
        place = f"byte {offset}"
        row = decoded(line)
        if isinstance(row, str):
            raise DataError(f"{path}, {place}", row, got=repr((line or b"")[:80]), expected="one object a line", mend="mend the line")
        for name in FIELDS:
            if not isinstance(row.get(name), str | None):
                raise DataError(f"{path}, {place}", f"`{name}` is no string", got=repr(row[name])[:80], expected="a string or null", mend="mend the line")
        yield place, row


def _beside(path: Path, name: str, place: str) -> Path:
    """The file that a line names."""
    found = path.parent / name
    if not found.is_file():
        raise DataError(f"{path}, {place}", f"no file {found}", got="nothing", expected="the page", mend=f"put it beside {path.name}, or take the line out")
    return found


def _archived(path: Path, records: dict[str, tuple[str, str]]) -> list[Known]:
    from dolma.io.warc import warc

    found = {}
    for batch in warc(str(path), file=path.name):
        for name, content, charset in zip(*(batch.column(column).to_pylist() for column in ("id", "content", "charset")), strict=True):
            if name in records:
                found[name] = Known(records[name][0], content, charset, records[name][1])
    lost = records.keys() - found.keys()
    if lost:
        raise DataError(str(path), "records are not there", got=f"{len(found)} of {len(records)}", expected=min(lost), mend="name the archive that holds them")
    return [found[name] for name in records]


def overlap(known: str, text: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of the words of `text` against those of `known`, each counted as often as it stands there (word rule v1, lower case)."""
    from dolma.kernels.words import words

    want, got = Counter(words(known.lower())), Counter(words(text.lower()))
    both = (want & got).total()
    return both / max(1, got.total()), both / max(1, want.total()), 2 * both / max(1, want.total() + got.total())


def score(pages: Sequence[Known], extractor: str) -> list[Score]:
    """What `extractor`, with the defaults of `extract_html`, makes of each page; a page that it failed on scores 0.

    Raises:
        ConfigError: there is no such extractor.
    """
    from dolma.extract.html import extract_html, read_pages

    if extractor not in EXTRACTORS:
        raise ConfigError("--extractors", f"no extractor `{extractor}`", got=extractor, expected=", ".join(EXTRACTORS), mend="name one of these")
    settings = extract_html.params(extractor=extractor).model_dump()
    made = []
    for page, (answer, text) in zip(pages, read_pages(((page.html, page.charset) for page in pages), **settings), strict=True):
        made.append(Score(page.id, text, answer.get("error"), *overlap(page.text, text or ""), answer.get("cpu", 0.0)))
    return made


def summary(extractor: str, scores: Sequence[Score]) -> list[object]:
    """One row of the table: extractor, pages, mean F1, mean precision, mean recall, pages without text, pages that failed, pages a CPU second."""
    means = [fmean(getattr(one, name) for one in scores) for name in ("f1", "precision", "recall")]
    cpu = sum(one.cpu for one in scores)
    return [extractor, len(scores), *means, sum(one.text == "" for one in scores), sum(one.text is None for one in scores), len(scores) / cpu if cpu else None]


SUMMARY = ("extractor", "pages", "F1", "precision", "recall", "empty", "failed", "pages/CPU s")


def worst(columns: Sequence[Sequence[Score]], count: int) -> list[list[object]]:
    """The `count` pages on which the first extractor does worst: id and the F1 of every extractor."""
    order = sorted(range(len(columns[0])), key=lambda at: (columns[0][at].f1, columns[0][at].id))
    return [[columns[0][at].id, *(column[at].f1 for column in columns)] for at in order[:count]]


def side_by_side(titles: Sequence[str], texts: Sequence[str], width: int) -> str:
    """Texts as columns of a page that is `width` characters wide."""
    each = max(20, (width - 3 * (len(texts) - 1)) // len(texts))
    columns = [[title, "-" * each, *_wrapped(text.splitlines(), each)] for title, text in zip(titles, texts, strict=True)]
    lines = [[column[at] if at < len(column) else "" for column in columns] for at in range(max(map(len, columns)))]
    return "\n".join(" | ".join(part.ljust(each) for part in line).rstrip() for line in lines)


def _wrapped(lines: Iterable[str], width: int) -> list[str]:
    return [part for line in lines if line.strip() for part in wrap(line, width) or [""]]
