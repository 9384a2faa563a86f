"""A web server of the tests' own that misbehaves as it is told."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Web:
    """What a server of a folder does wrong, and what it was asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: Counter[str] = Counter()  # GET and HEAD of each path
        self.refuse: list[int] = []  # a status for each of the next requests for a file
        self.cut: list[int] = []  # of each of the next answers only so many bytes
        self.stall: list[float] = []  # before each of the next answers so many seconds of silence
        self.status: dict[str, int] = {}  # a path, and the status that it always has


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[Web]:
    """A server of `folder` on this machine, with listings of its folders."""
    web = Web()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

        def _wrong(self) -> bool:
            web.asked[f"{self.command} {self.path}"] += 1
            time.sleep(web.stall.pop(0) if web.stall else 0)
            status = web.status.get(self.path) or (web.refuse.pop(0) if web.refuse and not self.path.endswith("/") else None)
            if status:
                self.send_error(status)
            return bool(status)

        def do_HEAD(self) -> None:
            if not self._wrong():
                super().do_HEAD()

        def do_GET(self) -> None:
            if not self._wrong():
                super().do_GET()

        def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
            if web.cut and not self.path.endswith("/"):
                outputfile.write(source.read()[: web.cut.pop(0)])
                self.close_connection = True
            else:
                super().copyfile(source, outputfile)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
