"""The process that opens PDFs: it reads a document from its standard input, answers with text, and may be killed at any time.

It is started as a program of its own (never forked), loads one engine, and knows nothing of the rest of the package. A request is a line of JSON
(`size`, `seconds`, `max_pages`, `max_chars`) and `size` bytes; the answer is a line of JSON and the UTF-8 text.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

GAP = "\n\n"  # between two pages
GRACE = 5  # seconds after the parent's deadline at which the kernel ends this process, should the parent be gone


class Refused(Exception):
    """A document that gives no text, with its status."""


def pages_pymupdf(content: bytes, max_pages: int) -> Iterator[Callable[[], str]]:
    """One function a page that gives its text, with MuPDF; broken files are repaired as far as MuPDF can."""
    import pymupdf

    try:
        document = pymupdf.open(stream=content, filetype="pdf")
    except (RuntimeError, ValueError) as error:
        raise Refused("corrupt") from error
    with document:
        if document.needs_pass:
            raise Refused("encrypted")
        if document.page_count > max_pages:
            raise Refused("too_large")
        for number in range(document.page_count):
            yield lambda number=number: str(document.load_page(number).get_text("text"))


def pages_pdfium(content: bytes, max_pages: int) -> Iterator[Callable[[], str]]:
    """One function a page that gives its text in stream order, with PDFium."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        raise Refused("encrypted" if "password" in str(error).lower() else "corrupt") from error
    if len(document) > max_pages:
        raise Refused("too_large")

    def text(number: int) -> str:
        page = document[number]
        # U+FFFE and U+0002 are how PDFium writes a hyphen at the end of a line: the word goes on in the next one
        return page.get_textpage().get_text_range().replace("\r\n", "\n").replace("\ufffe\n", "").replace("\x02\n", "")

    for number in range(len(document)):
        yield lambda number=number: text(number)


ENGINES = {"pymupdf": pages_pymupdf, "pdfium": pages_pdfium}


def extract(content: bytes, engine: str, max_pages: int, max_chars: int) -> tuple[dict[str, Any], bytes]:
    """The answer to one request: status, number of pages, pages that failed, where each page begins in characters; and the text."""
    starts, parts, length, failed = [], [], 0, 0
    try:
        for page in ENGINES[engine](content, max_pages):
            try:
                text = page().replace("\0", "").strip()
            except (RuntimeError, ValueError):  # what both engines raise for a page that they cannot load
                text, failed = "", failed + 1
            starts.append(length)
            if text:
                parts.append(text + GAP)
                length += len(parts[-1])
            if length > max_chars:
                raise Refused("too_large")
    except Refused as refused:
        return {"status": str(refused)}, b""
    except MemoryError:
        return {"status": "too_large"}, b""
    if failed == len(starts):  # also a file in which no page was found
        return {"status": "corrupt"}, b""
    text = "".join(parts).removesuffix(GAP)
    status = "ok" if text else "no_text"
    return {"status": status, "pages": len(starts), "failed": failed, "starts": [min(start, len(text)) for start in starts]}, text.encode("utf-8", "replace")


def serve(source: BinaryIO, target: BinaryIO, engine: str) -> None:
    """Answer requests until the parent closes the pipe."""
    while line := source.readline():
        request = json.loads(line)
        # the default action of SIGALRM ends the process even inside a library that never returns to Python
        signal.setitimer(signal.ITIMER_REAL, request["seconds"] + GRACE)
        answer, text = extract(source.read(request["size"]), engine, request["max_pages"], request["max_chars"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        target.write(json.dumps({**answer, "size": len(text)}).encode() + b"\n" + text)
        target.flush()


def main() -> None:
    """Limit the memory, load the engine, say so, serve. Arguments: engine, memory in MiB."""
    engine, memory = sys.argv[1], int(sys.argv[2]) << 20
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # both engines print warnings; they must not get between the answers
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if engine == "pymupdf":
            import pymupdf

            pymupdf.TOOLS.mupdf_display_errors(False)
            pymupdf.TOOLS.mupdf_display_warnings(False)
        else:
            import pypdfium2  # noqa: F401
    except ImportError as error:
        answers.write(json.dumps({"missing": error.name}).encode() + b"\n")
        return
    answers.write(b'{"ready": true}\n')
    answers.flush()
    serve(sys.stdin.buffer, answers, engine)


if __name__ == "__main__":
    main()
