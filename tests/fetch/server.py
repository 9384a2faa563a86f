"""A real HTTP server on this machine that misbehaves as it is told: for each path a list of behaviours, one a request, and then good ones."""

import hashlib
import socket
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Event, Thread

Behaviour = Callable[["Handler"], None]


def content(seed: int, size: int) -> bytes:
    """Bytes that differ everywhere, so that a piece from another place is seen."""
    return Random(seed).randbytes(size)


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


class Server(ThreadingHTTPServer):
    """Files by path, what happens to the next requests for them, and the requests that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.plans: dict[str, list[Behaviour]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.sent: dict[str, int] = {}  # bytes of bodies by path
        self.end = Event()
        self.thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def ranges(self, path: str) -> list[str | None]:
        """The Range of every request for a path."""
        return [headers.get("range") for asked, headers in self.requests if asked == path]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is no fault of the server."""

    def close(self) -> None:
        self.end.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.name = self.path.lstrip("/")
        self.server.requests.append((self.name, {key.lower(): value for key, value in self.headers.items()}))
        plan = self.server.plans.get(self.name)
        (plan.pop(0) if plan else good)(self)

    def log_message(self, *_: object) -> None:
        """Nothing to stderr."""

    def head(self, status: int, headers: dict[str, str | int]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def body(self, part: bytes) -> None:
        self.server.sent[self.name] = self.server.sent.get(self.name, 0) + len(part)
        self.wfile.write(part)
        self.wfile.flush()

    def version_string(self) -> str:
        return "AmazonS3"  # whose ETags are MD5s


def offer(one: Handler) -> bytes:
    """Send the headers of a good reply; the bytes that must follow."""
    body = one.server.files.get(one.name)
    if body is None:
        one.head(404, {"Content-Length": 0})
        return b""
    tag = f'"{md5(body)}"'
    asked, condition = one.headers.get("Range"), one.headers.get("If-Range")
    if asked and condition == tag:
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            one.head(416, {"Content-Length": 0, "Content-Range": f"bytes */{len(body)}"})
            return b""
        one.head(206, {"Content-Length": len(body) - start, "ETag": tag, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"})
        return body[start:]
    one.head(200, {"Content-Length": len(body), "ETag": tag})
    return body


def good(one: Handler) -> None:
    one.body(offer(one))


def status(code: int, **headers: str | int) -> Behaviour:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda one: one.head(code, {"Content-Length": 0, **named})


def cut(count: int, reset: bool = False) -> Behaviour:
    """Right headers, `count` bytes, and the end of the connection: in order, or torn."""

    def cut_after(one: Handler) -> None:
        one.body(offer(one)[:count])
        one.close_connection = True
        if reset:
            one.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.connection.close()

    return cut_after


def wrong(one: Handler) -> None:
    """Right length, one byte different."""
    body = offer(one)
    one.body(bytes([body[0] ^ 1]) + body[1:])


def whole(one: Handler) -> None:
    """A server that knows no ranges."""
    del one.headers["Range"]
    one.body(offer(one))


def careless(one: Handler) -> None:
    """A server that knows ranges and no If-Range: the rest of whatever file is there now."""
    one.headers.replace_header("If-Range", f'"{md5(one.server.files[one.name])}"')
    good(one)


def shifted(start: int) -> Behaviour:
    """The end of the file from another place than the one that was asked for, with headers that say so."""

    def answer(one: Handler) -> None:
        body = one.server.files[one.name]
        one.head(206, {"Content-Length": len(body) - start, "ETag": f'"{md5(body)}"', "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"})
        one.body(body[start:])

    return answer


def stall(count: int) -> Behaviour:
    """`count` bytes, and then nothing for as long as the test runs."""

    def stall_after(one: Handler) -> None:
        one.body(offer(one)[:count])
        one.server.end.wait(30)
        one.close_connection = True

    return stall_after


def drip(one: Handler) -> None:
    """A byte now and then, never long enough apart for a timeout."""
    for byte in offer(one):
        if one.server.end.wait(0.05):
            break
        one.body(bytes([byte]))
    one.close_connection = True


def chunked(one: Handler) -> None:
    """No length, but an end that can be told."""
    body = one.server.files[one.name]
    one.head(200, {"Transfer-Encoding": "chunked"})
    one.body(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))


def cut_chunk(one: Handler) -> None:
    """A chunk that ends before its length."""
    body = one.server.files[one.name]
    one.head(200, {"Transfer-Encoding": "chunked"})
    one.body(b"%x\r\n%s" % (len(body), body[: len(body) // 2]))
    one.close_connection = True


def endless(one: Handler) -> None:
    """Neither length nor chunks: the end of the connection is the end of the body."""
    one.head(200, {"Connection": "close"})
    one.body(one.server.files[one.name])


def with_headers(**headers: str) -> Behaviour:
    """The whole body with other headers than S3's."""
    named: dict[str, str | int] = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(one: Handler) -> None:
        body = one.server.files[one.name]
        one.head(200, {"Content-Length": len(body), **named})
        one.body(body)

    return answer
