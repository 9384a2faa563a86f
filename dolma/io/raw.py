"""Raw files anywhere that fsspec reaches: found by glob, told from one another without being read, and brought whole to where a reader can open them.

A name is believed only with its size and what its server says of its bytes. No message holds a password, a query or the value of a secret variable.
The only file that imports fsspec.
"""

import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, unquote, urlsplit

from dolma.core.errors import ConfigError, DataError, DolmaError, EnvironmentFault, Partial
from dolma.core.files import FULL
from dolma.core.log import logger
from dolma.core.manifest import File, canonical

log = logger(__name__)
T = TypeVar("T")

TRIES, FIRST_WAIT = 5, 0.5  # waits of half to the whole of 0.5, 1, 2 and 4 s: a burst of 503 ends within seconds, a server that is down fails in 8 s
CONNECT, SILENCE = 30, 60  # seconds; aiohttp's own limit is 300 s for a whole file, which no large archive meets
ASKED_AT_ONCE = 16  # files whose sizes are asked for together
WEB = ("http", "https")
LISTED_BY_WALKING = (*WEB, "file", "local", "memory")  # fsspec leaves out a folder of these that it cannot list, unless it is told to raise
CHECKSUMS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "content_md5", "checksum", "blob_id", "oid")
GLOB = re.compile(r"[*?\[]")
TIMES = ("Last-Modified", "LastModified", "last_modified", "mtime", "modify", "updated", "modified", "created")


@dataclass(frozen=True)
class Remote:
    """A file at a URL, and the digest of what its server says of it: another one, another file."""

    url: str
    name: str
    bytes: int
    identity: str


def is_url(place: str) -> bool:
    """Whether a place is a URL and not a path."""
    return "://" in place


def find(root: str, patterns: list[str], where: str) -> list[Remote]:
    """Files below the URL `root` that match any of the glob `patterns`, in the order of `core.files.find`.

    Raises:
        ConfigError: the URL holds a secret, or no such scheme exists.
        DataError: a pattern matches no file; the message names the nearest files.
        EnvironmentFault: a package is missing, or the server cannot be reached or refuses.
    """
    _refuse_secrets(root, where)
    fs, base = _connect(root, where)
    fs.invalidate_cache()
    web = urlsplit(root).scheme in WEB
    strict = {"on_error": "raise"} if urlsplit(root).scheme in LISTED_BY_WALKING else {}
    spelt = [quote(pattern.replace("?", "[!|]"), safe="/*[]!|-") if web else pattern for pattern in patterns]  # in a web address `?` begins a query
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        hits = list(pool.map(lambda pattern: _hits(fs, f"{base}/{pattern}", where, strict), spelt))
        for n, hit in enumerate(hits):
            if not hit:
                raise _nothing(fs, base, root, patterns[n], spelt[n], where, web)
        found = {path: info for hit in hits for path, info in hit.items()}
        made = pool.map(lambda item: _remote(fs, base, item[0], item[1], where, web), found.items())
        return sorted(made, key=lambda one: one.name.split("/"))  # as paths sort


def _hits(fs: Any, pattern: str, where: str, strict: dict[str, str]) -> dict[str, dict[str, Any]]:
    url = pattern if is_url(pattern) else fs.unstrip_protocol(pattern)
    if not GLOB.search(pattern):
        info = _asked(lambda: fs.info(pattern), url, where, empty={})
        return {pattern: info} if info.get("type") == "file" else {}
    hits = _asked(lambda: fs.glob(pattern, detail=True, **strict), url, where, empty={})
    return {path: info for path, info in hits.items() if info["type"] == "file"}


def _nothing(fs: Any, base: str, root: str, pattern: str, spelt: str, where: str, web: bool) -> DataError:
    folder = GLOB.split(spelt)[0].rpartition("/")[0]
    there: list[str] = []
    for place in (f"{base}/{folder}" if folder else base, base):
        there = there or sorted(_asked(lambda place=place: fs.find(place, maxdepth=2), root, where, empty=[]))[:10_000]
    names = [unquote(path[len(base) + 1 :]) if web else path[len(base) + 1 :] for path in there]
    near = get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
    mend = f"nearest: {', '.join(near)}" if near else f"{redacted(root)} lists no files: mend `raw` in the env, or the pattern"
    return DataError(where, f"no file matches {redacted(root)}/{pattern}", got="0 files", expected="at least 1", mend=mend)


def _remote(fs: Any, base: str, path: str, info: dict[str, Any], where: str, web: bool) -> Remote:
    url = path if is_url(path) else fs.unstrip_protocol(path)
    if info.get("size") is None or not any(info.get(key) for key in CHECKSUMS):  # a listing may spell times otherwise
        info = _asked(lambda: fs.info(path), url, where)
    name = path[len(base) + 1 :]
    name = unquote(name) if web else name
    if info.get("size") is None:
        raise DataError(redacted(url), "its server does not say how long it is", got="no size", expected="a length", mend="copy it to where sizes are known")
    return Remote(url, name, int(info["size"]), _identity(name, info))


def _identity(name: str, info: dict[str, Any]) -> str:
    said = next(([key, str(info[key])] for key in (*CHECKSUMS, *TIMES) if info.get(key)), None)
    if said is None:
        log.warning("%s: its server gives no checksum and no time: another file of the same length would not be seen", name)
    return sha256(canonical([name, int(info["size"]), said])).hexdigest()


@contextmanager
def local(url: str, file: File, folder: Path | None = None) -> Iterator[Path]:
    """A copy of the file at `url` below `folder` (a temporary one when absent), gone afterwards; it keeps the endings of the name.

    Raises:
        DataError: it is not there any more, or is another file than `file` says.
        Partial: it cannot be had now; what is done is kept.
    """
    where = redacted(url)
    fs, _ = _connect(url, where)
    with tempfile.TemporaryDirectory(prefix="raw-", dir=folder, ignore_cleanup_errors=True) as place:
        path = Path(place) / ("file" + "".join(Path(file.name).suffixes[-2:]))
        stripped = fs._strip_protocol(url)

        def bring() -> None:
            fs.invalidate_cache()
            fs.get_file(stripped, str(path))
            info = fs.info(stripped)
            if info.get("size") != file.bytes or _identity(file.name, info) != file.sha256:
                got = f"{info.get('size')} bytes of another version" if info.get("size") == file.bytes else f"{info.get('size')} bytes"
                raise DataError(
                    where, "the file changed since the plan", got=got, expected=f"{file.bytes} bytes, as planned", mend="run again: it is planned anew"
                )
            if path.stat().st_size != file.bytes:
                raise ConnectionError(f"{path.stat().st_size} of {file.bytes} bytes came")

        _asked(bring, url, where, fetching=True)
        yield path


def _refuse_secrets(url: str, where: str) -> None:
    parts = urlsplit(url)
    if parts.password or (parts.username and parts.scheme in WEB) or parts.query or "::" in url:
        raise ConfigError(
            where,
            "a URL of raw files holds more than a place",
            got=redacted(url),
            expected="scheme://place/folder, without password, token, query or chain",
            mend="give secrets to the backend: its own variables and files, or ~/.config/fsspec and FSSPEC_* variables",
        )


def _connect(url: str, where: str) -> tuple[Any, str]:
    """The file system of a URL, and the URL as that names it."""
    scheme = urlsplit(url).scheme
    try:
        import fsspec
    except ImportError as error:
        raise EnvironmentFault(where, "fsspec is not installed", got="a URL", expected="the package", mend="pip install 'dolma-flow[web]'") from error
    known = fsspec.available_protocols()
    if scheme not in known:
        near = get_close_matches(scheme, known, n=1)
        mend = f"did you mean `{near[0]}`?" if near else "mend the scheme"
        raise ConfigError(where, f"unknown scheme `{scheme}`", got=redacted(url), expected="one that fsspec knows", mend=mend)
    try:
        fsspec.get_filesystem_class(scheme)
        fs, base = fsspec.core.url_to_fs(url, **(_patience(fsspec.config.conf) if scheme in WEB else {}))
    except ImportError as error:
        got = f"{type(error.__cause__ or error).__name__}: {error.__cause__ or error}"
        raise EnvironmentFault(where, f"{scheme}:// needs a package that is not installed", got=got, expected="the package", mend=str(error)) from None
    except Exception as error:
        _give_up(error, url, where, 1, fetching=False)
    return fs, base.rstrip("/")


def _patience(conf: dict[str, Any]) -> dict[str, Any]:
    """Options of a web client: no limit for a whole file but one for silence, and bytes as they lie on the server; what the user configured goes first."""
    import aiohttp

    given = {**conf.get("http", {}), **conf.get("https", {})}
    client = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE), **given.get("client_kwargs", {})}
    return {"client_kwargs": client, "headers": {"Accept-Encoding": "identity", **given.get("headers", {})}}


def _asked(ask: Callable[[], T], url: str, where: str, *, fetching: bool = False, empty: T | None = None) -> T:
    """The answer of a server that may fail for a moment; `empty` for what is not there."""
    for tries in range(1, TRIES + 1):
        try:
            return ask()
        except DolmaError:
            raise
        except Exception as error:
            cause = _cause(error)
            if isinstance(cause, FileNotFoundError) and empty is not None:
                return empty
            if getattr(cause, "errno", None) in FULL:
                raise
            if _lasting(cause) or tries == TRIES:
                _give_up(cause, url, where, tries, fetching)
            wait = FIRST_WAIT * 2 ** (tries - 1) * random.uniform(0.5, 1)
            log.warning("%s: %s; again in %.1f s", redacted(url), redacted(f"{type(cause).__name__}: {cause}")[:300], wait)
            time.sleep(wait)
    raise AssertionError("unreachable")


def _cause(error: BaseException) -> BaseException:
    """What happened: fsspec tells every failure of a web server's HEAD as a missing file."""
    if getattr(error, "status", None) in (404, 410):
        return FileNotFoundError(str(error))
    cause = error.__cause__
    web = cause is not None and (type(cause).__module__.startswith("aiohttp") or isinstance(cause, ConnectionError | TimeoutError))
    return cause if cause is not None and web and getattr(cause, "status", None) not in (404, 410) else error


def _lasting(error: BaseException) -> bool:
    """Whether asking again cannot help."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and 400 <= status < 500:
        return status not in (408, 425, 429)
    return isinstance(
        error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError | NotImplementedError | ImportError | TypeError | ValueError
    )


def _give_up(error: BaseException, url: str, where: str, tries: int, fetching: bool) -> NoReturn:
    said = redacted(f"{type(error).__name__}: {error}")[:300]  # before it is cut: half a secret is not known again
    file = "the file" if where == redacted(url) else redacted(url)
    if isinstance(error, FileNotFoundError):
        raise DataError(where, f"{file} is not there", got="nothing", expected="a file", mend="run again: what is there is planned anew") from None
    kind = Partial if fetching else EnvironmentFault
    if isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403):
        mend = "renew the credentials that the backend reads; the same command resumes"
        raise kind(where, f"{file} may not be read", got=said, expected="permission", mend=mend) from None
    mend = "check the address and the network; the same command resumes"
    raise kind(where, f"{file} cannot be read", got=f"{said} ({tries} tries)", expected="an answer", mend=mend) from None


SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|ACCESS_KEY|API_KEY|(^|_)SAS(_|$)", re.IGNORECASE)


def redacted(text: str) -> str:
    """`text` without user names, passwords, queries and fragments of URLs, and without the values of variables that look secret."""
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= 8:
            text = text.replace(value, f"${name}")
    text = re.sub(r"(?<=://)[^/\s]*:[^/\s]*@", "", text)  # up to the last @: a password may hold one, and a quote
    text = re.sub(r"(?<=https://)[^/\s]*@|(?<=http://)[^/\s]*@", "", text)
    text = re.sub(r"(https?://[^\s?#'\"]*)#[^\s'\"]*", r"\1#...", text)  # a key of S3 may hold #
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1?...", text)
