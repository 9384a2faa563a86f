"""Text of PDFs, read in a process that may crash, hang or be killed without harm to the worker.

No engine crashed on the PDFs that were tried, but some files took 3 GB or never ended: so each engine lives in a child process with a memory limit
of its own, the parent keeps the deadline, and the child is replaced after a number of documents.
"""

import sys
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from dolma.core.schema import ERROR, append, keys, without
from dolma.core.step import step
from dolma.extract.child import Child, Died, opened

Engine = Literal["pymupdf", "pdfium"]

INSTALL = {"pymupdf": "mupdf", "pdfium": "pdf"}  # engine: extra of this distribution
DISTRIBUTION = {"pymupdf": "pymupdf", "pdfium": "pypdfium2"}
AGAIN = ("corrupt", "timeout", "crashed", "too_large")  # failures of the first engine after which the second may do better


class PdfProcess(Child):
    """One child with one engine.

    The status of a document is ok, no_text, encrypted, corrupt, too_large (pages, characters or memory), timeout or crashed.
    """

    def __init__(self, engine: Engine, *, memory_mb: int, recycle: int, program: Path | None = None) -> None:
        program = program or Path(__file__).with_name("pdf_worker.py")
        # -P: the folder of the program holds modules named like ones of the standard library, and must not be searched
        command = [sys.executable, "-P", str(program), engine, str(memory_mb)]
        super().__init__(command, name=f"PDF engine {engine}", install=f"dolma-flow[{INSTALL[engine]}]", memory_mb=memory_mb, recycle=recycle)

    def read(self, content: bytes, *, seconds: float, max_pages: int, max_chars: int) -> tuple[dict[str, Any], str]:
        """The answer (`status`, and for a readable document `pages`, `failed`, `starts`) and the text of one document."""
        try:
            answer, text = self.ask({"seconds": seconds, "max_pages": max_pages, "max_chars": max_chars}, content, seconds=seconds)
        except Died as died:
            return {"status": str(died)}, ""
        return answer, text.decode()


def _process(engine: Engine, memory_mb: int, recycle: int) -> PdfProcess:
    return opened(("pdf", engine, memory_mb, recycle), lambda: PdfProcess(engine, memory_mb=memory_mb, recycle=recycle))


@step(
    needs=("id", "content"),
    removes=("content",),
    adds={
        "key": pa.int64(),
        "url": pa.string(),
        "text": pa.large_string(),
        "engine": pa.string(),
        "n_pages": pa.int32(),
        "n_pages_failed": pa.int32(),
        "page_starts": pa.list_(pa.int32()),
        "digit_ratio": pa.float32(),
        "pipe_line_ratio": pa.float32(),
    },
    packages=lambda params: tuple(DISTRIBUTION[engine] for engine in (params.engine, params.second) if engine),
)
def extract_pdf(
    batch: pa.RecordBatch,
    *,
    engine: Engine,
    second: Engine | None = None,
    seconds: float = 60,
    memory_mb: int = 4096,
    recycle: int = 200,
    max_pages: int = 10_000,
    max_chars: int = 20_000_000,
) -> pa.RecordBatch:
    """The text of each PDF in `content`, page by page, which goes; `page_starts` are the character offsets of the pages in `text`.

    `digit_ratio` is the share of digits in all characters, `pipe_line_ratio` that of lines with a `|`; null without text.

    A document without a text layer has empty text: drop it with `keep` (reason no_text), or read it by OCR. An encrypted, corrupt or too large one, and one
    that ended or outlasted the engine, is an `_error` row with that status.

    Args:
        engine: pymupdf (AGPL or commercial) or pdfium (BSD, Apache).
        second: engine that is tried when the first fails (not for an encrypted document or one without text); the first one's status stands if it fails too.
        seconds: deadline of one document and engine, kept by the parent.
        memory_mb: address space of an engine's process; a document that needs more ends it, and only it.
        recycle: documents after which the process is replaced, so that a leak stays small.
        max_pages: more pages are `too_large`.
        max_chars: more text is `too_large`.
    """
    made = [_read(content, engine, second, seconds, memory_mb, recycle, max_pages, max_chars) for content in batch.column("content").to_pylist()]
    good = [answer["status"] in ("ok", "no_text") for answer, _, _ in made]
    columns = {
        "key": keys(batch.column("id")),
        "url": pa.nulls(batch.num_rows, pa.string()),
        "text": pa.array([text if ok else None for ok, (_, text, _) in zip(good, made, strict=True)], pa.large_string()),
        "engine": pa.array([used if ok else None for ok, (_, _, used) in zip(good, made, strict=True)], pa.string()),
        "n_pages": pa.array([answer.get("pages") for answer, _, _ in made], pa.int32()),
        "n_pages_failed": pa.array([answer.get("failed") for answer, _, _ in made], pa.int32()),
        "page_starts": pa.array([answer.get("starts") for answer, _, _ in made], pa.list_(pa.int32())),
    }
    measured = [_measures(text) if ok else (None, None) for ok, (_, text, _) in zip(good, made, strict=True)]
    columns["digit_ratio"] = pa.array([digits for digits, _ in measured], pa.float32())
    columns["pipe_line_ratio"] = pa.array([pipes for _, pipes in measured], pa.float32())
    if not all(good):
        columns[ERROR] = pa.array([None if ok else answer["status"] for ok, (answer, _, _) in zip(good, made, strict=True)], pa.string())
    return append(without(batch, "content"), columns)


def _measures(text: str) -> tuple[float | None, float | None]:
    if not text:
        return None, None
    rows = text.split("\n")
    return sum(map(text.count, "0123456789")) / len(text), sum("|" in row for row in rows) / len(rows)


def _read(
    content: bytes, first: Engine, second: Engine | None, seconds: float, memory_mb: int, recycle: int, max_pages: int, max_chars: int
) -> tuple[dict[str, Any], str, Engine]:
    answer, text = _process(first, memory_mb, recycle).read(content, seconds=seconds, max_pages=max_pages, max_chars=max_chars)
    if second is None or second == first or answer["status"] not in AGAIN:
        return answer, text, first
    other, other_text = _process(second, memory_mb, recycle).read(content, seconds=seconds, max_pages=max_pages, max_chars=max_chars)
    return (other, other_text, second) if other["status"] in ("ok", "no_text") else (answer, text, first)
