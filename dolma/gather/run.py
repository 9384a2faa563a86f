"""A raw corpus from what is on this machine: no network, the layout and fields of the data kit, the same bytes for the same packages and seed."""

import gzip
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from dolma.core.errors import ConfigError
from dolma.core.files import write_atomic
from dolma.gather import code, docs, labels, math, pdf, web, wiki
from dolma.gather.docs import Page, order
from dolma.gather.markup import Block

# Gopher's filter (arXiv 2112.11446 table A1) drops a page with more than 0.15 of its text in repeated runs of five words, which half of all reference
# pages have: three quarters of those stay out of the crawl, so that most of it passes.
REPEATED = 0.15

Report = Callable[[str], Any]


@dataclass(frozen=True)
class Size:
    """How much of each source; characters of text for the web."""

    stdlib: int  # bytes of sources that are parsed: 0.2 s per MB
    package: int  # the same of each package, so that a large one does not take the corpus over
    pages: int
    chars: int
    articles: int
    wikitext: int
    files: int
    code_bytes: int
    problems: int
    manuals: tuple[int, ...]  # pages of each PDF
    labels: int
    per_topic: int


SIZES = {
    "tiny": Size(9_000_000, 1_600_000, 4000, 10_800_000, 160, 40, 1500, 8_000_000, 6000, (200, 120, 90, 70, 60, 50, 40, 30, 20, 12, 8, 5), 1600, 450),
    "mini": Size(4_000_000, 0, 500, 1_300_000, 20, 6, 90, 400_000, 400, (24, 12, 8, 6, 5, 5), 200, 40),  # for tests of the whole flow
}


RECORD = "gathered.json"
VERSION = 2  # raise it when the same packages and seed give other files


def gather(folder: Path, *, seed: int = 0, size: str = "tiny", report: Report = print) -> dict[str, int]:
    """Write a raw corpus into `folder` and give the number of rows of each kind; nothing is done where it lies there already.

    Args:
        folder: gets web/, code/, wiki/, math/, pdf/, quality/ and topics/, and `gathered.json`, written last, which says what they were made of.
        seed: another seed chooses other pages and generates other problems.
        size: `tiny` (about 10 MB of text on 4,000 pages, half a minute) or `mini` (for tests).
        report: gets one line a source.
    Raises:
        ConfigError: no such size, or files of somebody else in the folder.
    """
    if size not in SIZES:
        raise ConfigError("gather", f"unknown size `{size}`", got=size, expected=", ".join(SIZES), mend="choose one of them")
    want = SIZES[size]
    packages = docs.packages()
    made_of = {"version": VERSION, "seed": seed, "size": size, "packages": {package.name: package.version for package in packages}}
    if (there := _there(folder, made_of)) is not None:
        report(f"{folder} has this corpus already")
        return there
    (folder / RECORD).unlink(missing_ok=True)
    pages = [page for package in packages for page in docs.pages(package, seed, want.stdlib if package.name == "python" else want.package)]
    articles, rest = wiki.choose(pages, seed, want.articles + want.wikitext)
    chosen, left = _share(rest, seed, want)
    report(f"{len(packages)} packages, {len(pages)} pages of documentation")
    counts = {"web": web.write(chosen, folder / "web", seed)}
    report(f"web: {counts['web']} captures of {len(chosen)} pages, {sum(page.chars for page in chosen) / 1e6:.1f} MB of text")
    tables: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "code": ("code/source_files.jsonl.gz", code.source_files(packages, seed, want.files, want.code_bytes)),
        "wiki": ("wiki/featured_articles_plain.jsonl.gz", [wiki.plain(page) for page in articles[want.wikitext :]]),
        "wikitext": ("wiki/wikitext_pages.jsonl.gz", [wiki.wikitext(page) for page in articles[: want.wikitext]]),
        "math": ("math/generated_train.jsonl.gz", math.problems(seed, want.problems)),
        "quality": ("quality/quality_labels.jsonl.gz", labels.quality(pages, seed, want.labels)),
        "topics": ("topics/newsgroups_labelled.jsonl.gz", labels.topics(pages, seed, want.per_topic)),
    }
    for kind, (name, rows) in tables.items():
        size_out = _jsonl(folder / name, rows)
        counts[kind] = len(rows)
        report(f"{kind}: {len(rows)} rows, {size_out / 1e6:.1f} MB")
    counts["pdf"] = _manuals(folder / "pdf", left, seed, want)  # pages of the crawl would stand in the pool twice
    report(f"pdf: {counts['pdf']} files")
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    write_atomic(folder / RECORD, orjson.dumps({**made_of, "counts": counts, "files": files}, option=orjson.OPT_INDENT_2))
    return counts


def _there(folder: Path, made_of: dict[str, Any]) -> dict[str, int] | None:
    """The counts of the corpus in `folder` when it is this one and whole."""
    record = folder / RECORD
    if not record.is_file():
        strangers = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        if set(strangers) - {"web", "code", "wiki", "math", "pdf", "quality", "topics"}:
            raise ConfigError(str(folder), "the folder holds other files", got=", ".join(sorted(strangers)[:5]), expected="none", mend="name an empty folder")
        return None
    said = orjson.loads(record.read_bytes())
    whole = all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in said["files"].items())
    return said["counts"] if whole and all(said[key] == value for key, value in made_of.items()) else None


def _share(pages: list[Page], seed: int, want: Size) -> tuple[list[Page], list[Page]]:
    """(pages of the crawl, the others): the topics in turn, and in a topic its packages in turn, until there is enough."""
    turns: dict[tuple[str, str], int] = {}
    ranked = []
    for number, page in enumerate(sorted(pages, key=lambda page: order(seed, "web", page.package, page.name))):
        if number % 4 and page.repeated() > REPEATED:
            continue
        turn = turns.setdefault((page.topic, page.package), 0)
        turns[page.topic, page.package] += 1
        ranked.append(((turn, order(seed, page.package)), page))
    ranked.sort(key=lambda item: item[0])
    places: dict[str, int] = {}
    final = []
    for rank, page in ranked:
        places[page.topic] = places.get(page.topic, 0) + 1
        final.append(((places[page.topic], *rank), page))
    final.sort(key=lambda item: item[0])
    used, chosen = 0, set()
    for _, page in final:
        if len(chosen) < want.pages and used + page.chars <= want.chars:
            chosen.add(id(page))
            used += page.chars
    return [page for page in pages if id(page) in chosen], [page for page in pages if id(page) not in chosen]


def _jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    content = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    write_atomic(path, gzip.compress(content, compresslevel=6, mtime=0))
    return len(content)


def _manuals(folder: Path, pages: list[Page], seed: int, want: Size) -> int:
    """Long texts as PDFs: each the pages of the topics in turn; and one of each kind that cannot be read."""
    pool = sorted((page for page in pages if page.kind != "licence"), key=lambda page: order(seed, "pdf", page.package))
    rows, at = [], 0
    for number, length in enumerate(want.manuals):
        blocks: list[Block] = []
        room = length * pdf.LINES
        start = at
        while room > 0 and at - start < len(pool):
            page = pool[at % len(pool)]
            found = [Block("h", page.title), *page.blocks]
            blocks += found
            room -= len(pdf.lines(found))
            at += 1
        title = f"{pool[start % len(pool)].package} handbook"
        rows.append(_row(folder, f"handbook_{number:02d}.pdf", pdf.document(f"{seed}/{number}", title, blocks, length), "ok", ["manual"]))
    blocks = [block for page in pool[:4] for block in page.blocks]
    whole = pdf.document(f"{seed}/whole", "Handbook", blocks, 8)
    locked = pdf.document(f"{seed}/locked", "Handbook", blocks, 6, password="reader")
    rows.append(_row(folder, "made_encrypted_user_password.pdf", locked, "password_needed", ["encrypted"], password="reader"))
    rows.append(_row(folder, "made_truncated.pdf", pdf.broken(whole), "unreadable_or_partial", ["corrupt"]))
    rows.append(_row(folder, "made_image_only.pdf", pdf.pictures(f"{seed}/pictures", blocks, 3), "no_text_layer", ["scanned", "no_text"]))
    write_atomic(folder / "index.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    return len(rows)


def _row(folder: Path, name: str, content: bytes, expected: str, tags: list[str], **more: str) -> dict[str, Any]:
    write_atomic(folder / name, content)
    return {"id": f"pdf-{name.removesuffix('.pdf')}", "file": f"pdf/{name}", "tags": tags, "bytes": len(content), "expected": expected, **more}
