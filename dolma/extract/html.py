"""HTML pages to their main text, in a process that a page may crash, hang or fill without harm to the worker."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

import dolma
from dolma.core.schema import ERROR, append, keys, without
from dolma.core.step import step
from dolma.extract.child import Child, Died, opened
from dolma.extract.page import Extractor
from dolma.extract.page_worker import FULL

PATIENCE = 20  # wall seconds that a CPU second may take on a busy machine, before a page that waits for nothing is given up
TRIES = 2  # of a page that ended its process, each with a process of its own. Source: design/users.md D 14

ADDS = {"key": pa.int64(), "text": pa.large_string(), "title": pa.string(), "charset": pa.string(), "charset_source": pa.string(), "extractor": pa.string()}


class PageProcess(Child):
    """One child that reads pages with one extractor."""

    def __init__(self, extractor: Extractor, *, memory_mb: int, recycle: int, command: list[str] | None = None) -> None:
        command = command or [sys.executable, "-P", "-m", "dolma.extract.page_worker", extractor, str(memory_mb)]
        env = {**os.environ, "PYTHONPATH": str(Path(dolma.__file__).parents[1])}
        super().__init__(command, name=f"extractor {extractor}", install="dolma-flow[web]", memory_mb=memory_mb, recycle=recycle, env=env)

    def read(self, content: bytes, charset: str | None, arguments: dict[str, Any], cpu_seconds: float) -> tuple[dict[str, Any], str | None]:
        """The text of one page, and the answer about it: `title`, `charset`, `charset_source` and `extractor`, or `error`; and `cpu`, the seconds it took.

        A page whose process ended, did not answer, or ran out of memory (what earlier pages leaked is in it) is tried again in a new one, `TRIES` times in
        all: what becomes of a page does not hang on those before it.
        """
        request = {"cpu_seconds": cpu_seconds, "charset": charset, "arguments": arguments}
        reason = ""
        for _ in range(TRIES):
            try:
                answer, text = self.ask(request, content, seconds=cpu_seconds * PATIENCE)
            except Died as died:
                reason = str(died)
                continue
            if answer.get("error") != FULL:
                return answer, None if "error" in answer else text.decode()
            self.close()
            reason = FULL
        told = {FULL: FULL, "timeout": f"more than {cpu_seconds:g} CPU seconds", "crashed": "the extractor's process ended"}
        return {"error": f"{told[reason]}, {TRIES} times"}, None


def _packages(params: Any) -> tuple[str, ...]:
    return ("resiliparse", "trafilatura") if params.extractor == "trafilatura" else ("resiliparse",)


@step(needs=("id", "content", "charset"), adds=ADDS, removes=("content",), version=4, packages=_packages)
def extract_html(
    batch: pa.RecordBatch,
    *,
    extractor: Extractor = "resiliparse",
    least_share: float = 0.25,
    comments: bool = True,
    max_bytes: int = 5_000_000,
    max_depth: int = 1_000,
    cpu_seconds: float = 30,
    memory_mb: int = 2048,
    recycle: int = 5_000,
) -> pa.RecordBatch:
    """Take the text out of HTML: paragraphs, numbered lists and tables kept as lines; menus, scripts and forms gone. Empty where there is none.

    Formulas (MathML, KaTeX, MathJax, Wikipedia's and LaTeX pictures) become `$TeX$`, once each. `charset` in the batch is what the HTTP header said;
    afterwards it is what the bytes were decoded as, and `charset_source` says on whose word: bom, utf-8 (the bytes are valid UTF-8, whoever said what),
    header, meta, mended (called UTF-8, with some damaged bytes replaced) or guess. `extractor` is the way the text was found. A page over a cap, or that
    ended its process twice, is an `_error` row.

    Args:
        extractor: resiliparse-main (its main-content rules), resiliparse-all (everything visible), trafilatura (several times the CPU time: benchmark
            `extraction/trafilatura`), or resiliparse: main content, but where that is less than `least_share` of all text outside of what HTML marks as no
            content (navigation, footer, side matter, dialogs, hidden parts), all of that text instead; `extractor` then says resiliparse-body.
        least_share: the share, in characters, below which the main-content rules have failed. 0.25 is best on one half of the kit's gold pages
            (F1 .882; .879 at 0.15, .875 at 0.40).
        comments: take user comments for main content.
        max_bytes: larger pages are not parsed.
        max_depth: pages nested deeper by their tags are not parsed. Main-content rules are quadratic in depth: 0.04 s at 1,000 nested elements, 7 s at
            16,000; the deepest of 713 real pages has 128.
        cpu_seconds: of one page: the slowest of 385 real pages takes 0.16 with trafilatura; a tag of 40,000 attributes
            takes the parser 3, of twice as many four times that.
        memory_mb: address space of the process; a page that needs more ends it, and only it.
        recycle: pages after which the process is replaced, so that a leak stays small.
    """
    made = list(
        read_pages(
            ((content.as_py() or b"", charset.as_py()) for content, charset in zip(batch.column("content"), batch.column("charset"), strict=True)),
            extractor=extractor,
            least_share=least_share,
            comments=comments,
            max_bytes=max_bytes,
            max_depth=max_depth,
            cpu_seconds=cpu_seconds,
            memory_mb=memory_mb,
            recycle=recycle,
        )
    )
    columns = {"key": keys(batch.column("id")), "text": pa.array([text for _, text in made], pa.large_string())}
    for name in ("title", "charset", "charset_source", "extractor"):
        columns[name] = pa.array([answer.get(name) for answer, _ in made], pa.string())
    if any("error" in answer for answer, _ in made):
        columns[ERROR] = pa.array([answer.get("error") for answer, _ in made], pa.string())
    return append(without(batch, "content"), columns)


def read_pages(
    pages: Iterable[tuple[bytes, str | None]],
    *,
    extractor: Extractor,
    least_share: float,
    comments: bool,
    max_bytes: int,
    max_depth: int,
    cpu_seconds: float,
    memory_mb: int,
    recycle: int,
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The answer of `PageProcess.read` and the text of each page (its bytes, the charset of its HTTP header); the arguments are those of `extract_html`."""
    from dolma.kernels.markup import depth

    process = opened(("html", extractor, memory_mb, recycle), lambda: PageProcess(extractor, memory_mb=memory_mb, recycle=recycle))
    arguments = {"extractor": extractor, "least_share": least_share, "comments": comments}
    for html, charset in pages:
        if len(html) > max_bytes:
            yield {"error": f"page of more than {max_bytes} bytes"}, None
        elif depth(html) > max_depth:
            yield {"error": f"elements nested deeper than {max_depth}"}, None
        else:
            yield process.read(html, charset, arguments, cpu_seconds)
