"""One file over HTTP: begun again where it stopped, retried with patience, and checked before it gets its name.

The bytes go to `NAME.part`; `NAME.part.json` beside it holds what the server said of the file when its first byte was written. A later attempt, of this
process or the next, asks for the rest on the condition that the file is still that one (RFC 9110 13.1.5, If-Range); if it is not, it begins anew.
"""

import random
import ssl
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import Event
from urllib import request as web
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from dolma import __version__
from dolma.core.config import Strict
from dolma.core.files import disk_errors
from dolma.fetch.part import Part, State, of_reply

BLOCK = 1 << 18
SCHEMES = ("http", "https")
SLOW = 1_000  # bytes a second over one `timeout`: less is a stall. curl's --speed-limit is its like
# RFC 9110 15 and RFC 6585; Common Crawl's own rate limit answers 4xx (status.commoncrawl.org), and S3 answers 503 "Slow Down"
RETRIED = frozenset((403, 408, 425, 429, 500, 502, 503, 504))


class Patience(Strict):
    """How long a server is asked before a file is given up."""

    attempts: int = 10
    timeout: float = 60.0  # seconds without a byte
    first: float = 1.0  # seconds before the second attempt. Common Crawl asks for no more than one a second
    most: float = 60.0  # the longest wait of our own choice; a Retry-After may ask for more
    longest: float = 900.0  # a Retry-After of more seconds than this ends the file for this run


class Gone(Exception):
    """A file that another attempt of this run would not bring; `status` is the last HTTP status, None where there was none."""

    def __init__(self, what: str, status: int | None = None, network: bool = False) -> None:
        super().__init__(what)
        self.status, self.network = status, network


class Stopped(Exception):
    """The run was interrupted."""


class _Failed(Exception):
    """An attempt that failed; the next one may not."""

    def __init__(self, what: str, *, status: int | None = None, after: float | None = None, anew: bool = False) -> None:
        super().__init__(what)
        self.status, self.after, self.anew = status, after, anew


class _Redirects(web.HTTPRedirectHandler):
    def redirect_request(self, req: web.Request, fp, code: int, msg: str, headers, newurl: str) -> web.Request | None:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in SCHEMES or (old == "https" and new == "http"):
            raise Gone(f"a redirect from {old} to {new} is not followed", code)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> web.OpenerDirector:
    """HTTP and HTTPS only: urllib's default opener reads file:, ftp: and data: too."""
    made = web.OpenerDirector()
    for handler in (web.ProxyHandler, web.UnknownHandler, web.HTTPHandler, web.HTTPSHandler, web.HTTPDefaultErrorHandler, _Redirects, web.HTTPErrorProcessor):
        made.add_handler(handler())
    return made


class Download:
    """One file and how far it is; `run` may be called in a thread, the counts read from another."""

    def __init__(self, url: str, path: Path, patience: Patience, stop: Event, wait: Callable[[float], bool] | None = None) -> None:
        self.url, self.patience, self.stop = url, patience, stop
        self.part = Part(path)
        self.wait = wait or stop.wait  # true: the run was interrupted
        self.received = 0  # bytes that came over the wire in this run
        self.at = 0  # bytes of the file that are there
        self.length: int | None = None

    def run(self) -> State:
        """The file under its name, whole and checked; what the server promised of it.

        Raises:
            Gone: it cannot be had, or not within the attempts; what came of it is kept.
            Stopped: the run was interrupted.
            EnvironmentFault: the disk is full.
        """
        seen: list[_Failed] = []
        while len(seen) < self.patience.attempts:
            if seen and self.wait(self._pause(seen)):
                raise Stopped
            try:
                state = self._attempt()
                if wrong := self.part.wrong(state):
                    raise _Failed(wrong, anew=True)
                self.part.finish()
                return state
            except _Failed as failed:
                seen.append(failed)
                if failed.anew:
                    self.part.clear()
        kinds = list(dict.fromkeys(str(failed) for failed in seen))
        raise Gone(f"{len(seen)} attempts: {'; '.join(kinds)}", seen[-1].status, network=all(failed.status is None and not failed.anew for failed in seen))

    def _pause(self, seen: list[_Failed]) -> float:
        """Exponential, with full jitter, so that many clients do not come back at once; never less than the server asked for."""
        own = random.uniform(0.5, 1.0) * min(self.patience.first * 2 ** (len(seen) - 1), self.patience.most)
        asked = seen[-1].after or 0.0
        if asked > self.patience.longest:
            raise Gone(f"{seen[-1]}: the server asks for a pause of {asked:,.0f} s", seen[-1].status)
        return max(own, asked)

    def _attempt(self) -> State:
        start, state = self.part.held()
        self.at, self.length = start, state.length if state else None
        if state and start == state.length:
            return state  # whole, but not yet checked when the last run ended
        with self._open(self._request(start, state)) as reply:
            if start and state and reply.status == 206:
                if not state.goes_on(reply.headers, start):
                    raise _Failed("the rest of another file came", anew=True)
            elif reply.status == 200:
                start, state = 0, of_reply(reply)
                if state.length is None and not reply.chunked and not state.sums:
                    raise Gone("the reply gives no length: a cut one could not be told from a whole one", reply.status)
                self.part.begin(state)
            else:
                raise Gone(f"HTTP {reply.status} {reply.reason}", reply.status)
            self.at, self.length = start, state.length
            self._receive(reply, state)
        return state

    def _request(self, start: int, state: State | None) -> web.Request:
        parts = urlsplit(self.url)
        user, at, host = parts.netloc.rpartition("@")
        request = web.Request(parts._replace(netloc=host).geturl())
        request.add_header("User-Agent", f"dolma-flow/{__version__}")
        request.add_header("Accept-Encoding", "identity")  # the file's own bytes: those that the length and the checksum are of
        request.add_unredirected_header("x-amz-checksum-mode", "ENABLED")
        if at:  # not sent to where a redirect leads
            request.add_unredirected_header("Authorization", f"Basic {b64encode(unquote(user).encode()).decode()}")
        if start and state:
            request.add_header("Range", f"bytes={start}-")
            request.add_header("If-Range", state.validator)
        return request

    def _open(self, request: web.Request) -> HTTPResponse:
        try:
            return _opener().open(request, timeout=self.patience.timeout)
        except HTTPError as error:
            raise _refused(error) from error
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise Gone(f"its certificate is not trusted: {reason.verify_message}") from error
            raise _Failed(_words(reason)) from error
        except ValueError as error:
            raise Gone(f"a redirect to what is no address: {error}") from error

    def _receive(self, reply: HTTPResponse, state: State) -> None:
        """Append the body; a cut one is noticed here, since http.client ends in silence."""
        mark, marked = time.monotonic(), 0
        count = 0
        with disk_errors(self.part.path), self.part.append() as file:
            while state.length is None or self.at < state.length:
                if self.stop.is_set():
                    raise Stopped
                block = _read(reply, BLOCK if state.length is None else min(BLOCK, state.length - self.at))
                if not block:
                    break
                file.write(block)
                count, self.at, self.received = count + len(block), self.at + len(block), self.received + len(block)
                now = time.monotonic()
                if now - mark > self.patience.timeout:
                    if count - marked < SLOW * (now - mark):
                        raise _Failed(f"less than {SLOW:,} bytes a second")
                    mark, marked = now, count
        if state.length is not None and self.at < state.length:
            raise _Failed("the connection ended before the file did")


def _read(reply: HTTPResponse, size: int) -> bytes:
    try:
        return reply.read1(size)
    except (HTTPException, OSError) as error:
        raise _Failed(_words(error)) from error


def _refused(error: HTTPError) -> Gone | _Failed:
    error.close()
    what = f"HTTP {error.code} {error.reason}"
    if 300 <= error.code < 400:
        return Gone(f"HTTP {error.code}: a redirect that is not followed", error.code)
    if error.code == 416:  # what is there does not fit the file that the server has
        return _Failed(what, status=416, anew=True)
    if error.code not in RETRIED:
        return Gone(what, error.code)
    return _Failed(what, status=error.code, after=_after(error.headers.get("Retry-After")))


def _after(value: str | None) -> float | None:
    """Seconds of a Retry-After, which is a number or a date (RFC 9110 10.2.3)."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((when - datetime.now(UTC)).total_seconds(), 0.0) if when.tzinfo else None


def _words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "nothing came within the timeout"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return f"{type(reason).__name__}: {reason}"[:200]
