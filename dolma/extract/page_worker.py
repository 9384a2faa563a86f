"""The process that opens pages: it reads one from its standard input, answers with its text, and may be killed at any time.

It is started as a program of its own (never forked). A request is a line of JSON (`size`, `cpu_seconds`, `charset`, and the arguments of `page.extract`)
and `size` bytes; the answer is a line of JSON and the UTF-8 text.
"""

import json
import os
import resource
import signal
import sys
import time
from typing import Any, BinaryIO

from dolma.core.errors import EnvironmentFault
from dolma.extract import page

FULL = "out of memory"


def answer(content: bytes, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The answer to one request: the fields of `page.Page`, or `error` (`FULL` where memory ran out); and the text."""
    try:
        made = page.extract(content, request["charset"], **request["arguments"])
    except MemoryError:
        return {"error": FULL}, b""
    except EnvironmentFault:
        raise
    except Exception as error:  # what a parser raises over bytes that anybody may have written: one page's fault, never the run's
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}, b""
    return {"title": made.title, "charset": made.charset, "charset_source": made.charset_source, "extractor": made.extractor}, made.text.encode()


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer requests until the parent closes the pipe."""
    while line := source.readline():
        request = json.loads(line)
        content = source.read(request["size"])
        # CPU time, so that the result does not hang on how busy the machine is; the default action of SIGPROF ends the process even inside a library
        signal.setitimer(signal.ITIMER_PROF, request["cpu_seconds"])
        before = time.process_time()
        said, text = answer(content, request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        target.write(json.dumps({**said, "cpu": time.process_time() - before, "size": len(text)}).encode() + b"\n" + text)
        target.flush()


def main() -> None:
    """Limit the memory, load the extractor, say so, serve. Arguments: extractor, memory in MiB."""
    extractor, memory = sys.argv[1], int(sys.argv[2]) << 20
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        page.extract(b"<p>ready</p>", None, extractor=extractor, least_share=0.0, comments=True)  # type: ignore[arg-type]
    except EnvironmentFault as fault:
        answers.write(json.dumps({"missing": fault.what.split(" ")[0]}).encode() + b"\n")
        return
    answers.write(b'{"ready": true}\n')
    answers.flush()
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
