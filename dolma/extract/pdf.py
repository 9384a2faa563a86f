"""Text of PDFs, read in a process that may crash, hang or be killed without harm to the worker.

No engine crashed on the PDFs that were tried, but some files took 3 GB or never ended: so each engine lives in a child process with a memory limit
of its own, the parent keeps the deadline, and the child is replaced after a number of documents.
"""

import atexit
import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from dolma.core.errors import EnvironmentFault
from dolma.core.schema import ERROR, append, keys, without
from dolma.core.step import step

Engine = Literal["pymupdf", "pdfium"]

START_SECONDS = 120  # importing an engine on a loaded machine; after that the machine, not a document, is at fault
INSTALL = {"pymupdf": "mupdf", "pdfium": "pdf"}  # engine: extra of this distribution
DISTRIBUTION = {"pymupdf": "pymupdf", "pdfium": "pypdfium2"}
AGAIN = ("corrupt", "timeout", "crashed", "too_large")  # failures of the first engine after which the second may do better


class Died(Exception):
    """The child ended or did not answer in time; its argument is the status."""


class PdfProcess:
    """One child with one engine. `read` answers in bounded time whatever the document does.

    The status of a document is ok, no_text, encrypted, corrupt, too_large (pages, characters or memory), timeout or crashed.
    """

    def __init__(self, engine: Engine, *, memory_mb: int, recycle: int, program: Path | None = None) -> None:
        self.engine, self.memory_mb, self.recycle = engine, memory_mb, recycle
        self.program = program or Path(__file__).with_name("pdf_worker.py")
        self.child: subprocess.Popen[bytes] | None = None
        self.served, self.kept = 0, bytearray()

    def read(self, content: bytes, *, seconds: float, max_pages: int, max_chars: int) -> tuple[dict[str, Any], str]:
        """The answer (`status`, and for a readable document `pages`, `failed`, `starts`) and the text of one document."""
        if self.child is None or self.served >= self.recycle or self.child.poll() is not None:
            self._start()
        self.served += 1
        request = {"size": len(content), "seconds": seconds, "max_pages": max_pages, "max_chars": max_chars}
        end = time.monotonic() + seconds
        try:
            self._send(json.dumps(request).encode() + b"\n" + content, end)
            answer = json.loads(self._line(end))
            return answer, self._take(answer["size"], end).decode()
        except Died as died:
            self.close()
            return {"status": str(died)}, ""

    def close(self) -> None:
        """End the child, if there is one."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            for pipe in (self.child.stdin, self.child.stdout):
                if pipe is not None:
                    pipe.close()
        self.child, self.served, self.kept = None, 0, bytearray()

    def _start(self) -> None:
        self.close()
        # -P: the folder of the program holds modules named like ones of the standard library, and must not be searched
        command = [sys.executable, "-P", str(self.program), self.engine, str(self.memory_mb)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        self.child = child
        assert child.stdin and child.stdout
        os.set_blocking(child.stdin.fileno(), False)
        os.set_blocking(child.stdout.fileno(), False)
        try:
            hello = json.loads(self._line(time.monotonic() + START_SECONDS))
        except Died as died:
            self.close()
            raise EnvironmentFault(
                f"PDF engine {self.engine}",
                "the process does not start",
                got=str(died),
                expected=f"an answer within {START_SECONDS} s",
                mend=f"raise `memory_mb` (it is {self.memory_mb}), or install the engine again",
            ) from died
        if "missing" in hello:
            self.close()
            raise EnvironmentFault(
                f"PDF engine {self.engine}", f"package {hello['missing']} is not installed", mend=f"pip install 'dolma-flow[{INSTALL[self.engine]}]'"
            )

    def _send(self, data: bytes, end: float) -> None:
        assert self.child and self.child.stdin
        view, pipe = memoryview(data), self.child.stdin.fileno()
        while view:
            self._wait(pipe, selectors.EVENT_WRITE, end)
            try:
                view = view[os.write(pipe, view[: 1 << 20]) :]
            except BrokenPipeError as error:
                raise Died("crashed") from error
            except BlockingIOError:
                continue

    def _line(self, end: float) -> bytes:
        while (place := self.kept.find(b"\n")) < 0:
            self._fill(end)
        return self._cut(place + 1)

    def _take(self, size: int, end: float) -> bytes:
        while len(self.kept) < size:
            self._fill(end)
        return self._cut(size)

    def _cut(self, size: int) -> bytes:
        taken = bytes(self.kept[:size])
        del self.kept[:size]
        return taken

    def _fill(self, end: float) -> None:
        assert self.child and self.child.stdout
        pipe = self.child.stdout.fileno()
        self._wait(pipe, selectors.EVENT_READ, end)
        got = os.read(pipe, 1 << 20)
        if not got:
            raise Died("crashed")
        self.kept += got

    def _wait(self, pipe: int, event: int, end: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, event)
            if not selector.select(max(0.0, end - time.monotonic())):
                raise Died("timeout")


_OPEN: dict[tuple[int, str, int, int], PdfProcess] = {}  # by the parent's own process id: a forked parent must not use its parent's pipes


def _process(engine: Engine, memory_mb: int, recycle: int) -> PdfProcess:
    key = (os.getpid(), engine, memory_mb, recycle)
    if key not in _OPEN:
        _OPEN[key] = PdfProcess(engine, memory_mb=memory_mb, recycle=recycle)
    return _OPEN[key]


@atexit.register
def close_all() -> None:
    """End the children of this process; they also end by themselves when its pipes close."""
    for (owner, *_), process in _OPEN.items():
        if owner == os.getpid():
            process.close()
    _OPEN.clear()


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
