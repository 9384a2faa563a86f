"""Archives of a crawl of Common Crawl: its path list, a choice of its files, and their downloads side by side."""

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Event, Thread
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from dolma.console import size as amount
from dolma.core.config import Strict
from dolma.core.errors import ConfigError, EnvironmentFault, Partial
from dolma.core.files import disk_errors, lock, safe_join, write_atomic
from dolma.core.log import logger
from dolma.fetch.http import SCHEMES, Download, Gone, Patience, Stopped
from dolma.fetch.part import State
from dolma.fetch.progress import Transfers
from dolma.io.raw import redacted

log = logger(__name__)
BASE = "https://data.commoncrawl.org/"
CRAWLS = "https://index.commoncrawl.org/collinfo.json"  # the list of crawls; a mirror has it below its own base, if at all
ENDS = {"warc": ".warc.gz", "wet": ".warc.wet.gz"}  # how names of a kind end; none is a name of our own
RECORD = "fetched.jsonl"
LONGEST_LIST = 64 << 20  # bytes of a path list unpacked: those of 2024 have 90,000 paths of 140 bytes
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: steps of it fill a circle evenly, however many there are (Knuth, TAOCP 3, 6.4)
SHOWN = 5  # failed files that an error names


class Record(Strict):
    """A finished file, one line of `fetched.jsonl`; `checked` names what was compared: its length, its checksums."""

    name: str
    url: str
    bytes: int
    etag: str | None
    checked: list[str]


@dataclass(frozen=True)
class Fetched:
    """What a run left: the folder, files that it fetched, files that were there."""

    folder: Path
    new: int
    there: int


def fetch(
    crawl: str, kind: str, limit: int, out: Path, *, base: str = BASE, spread: int | None = None, workers: int = 4, patience: Patience | None = None
) -> Fetched:
    """Fetch `limit` files of a crawl to `out/<crawl>/`; what is there already is not asked for again.

    Args:
        spread: a seed: files evenly from the whole crawl in place of the first ones; those of a smaller `limit` are among those of a larger one.
    Raises:
        ConfigError: no such crawl, or not a base that can be read.
        EnvironmentFault: the server cannot be reached, or has no path list there; the disk is full.
        Partial: some files failed. What came of them is kept, and the same command goes on.
    """
    base = _base(base)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", crawl):
        raise ConfigError("--crawl", "not the name of a crawl", got=repr(crawl), expected="CC-MAIN-2024-51 or so", mend="index.commoncrawl.org lists them")
    run = _Run(crawl, out / crawl, base, patience or Patience())
    with disk_errors(run.folder), lock(run.folder):
        names = run.names(kind)
        if limit > len(names):
            log.info("%s has %s files of kind %s: all are taken", crawl, f"{len(names):,}", kind)
        chosen = choose(list(names), limit, spread)
        return run.fetch(f"{crawl} {kind}", {name: names[name] for name in chosen}, workers)


def choose(names: Sequence[str], limit: int, spread: int | None) -> list[str]:
    """The first `limit` names; with a seed, `limit` names evenly from all of them, in a fixed order of which every beginning is as even."""
    if spread is None or limit >= len(names):
        return list(names[:limit])
    at = int.from_bytes(sha256(str(spread).encode()).digest()[:8], "big")
    taken: dict[str, None] = {}
    while len(taken) < limit:
        taken[names[(at * len(names)) >> 64]] = None
        at = (at + GOLDEN) % 2**64
    return list(taken)


def _base(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in SCHEMES and parts.hostname and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:  # half a bracket, or a port that is no number
        usable = False
    if not usable:
        mend = "a base ends where `crawl-data/` begins; keys in a query are not supported"
        raise ConfigError("--base", "not an address of archives", got=redacted(text), expected="http(s)://host/path", mend=mend)
    return text.rstrip("/") + "/"


class _Run:
    """One crawl's folder and the server it is filled from."""

    def __init__(self, crawl: str, folder: Path, base: str, patience: Patience) -> None:
        self.crawl, self.folder, self.base, self.patience = crawl, folder, base, patience
        self.stop = Event()

    def names(self, kind: str) -> dict[str, str]:
        """Addresses of all files by the names they get, in the order of the crawl's path list; the list is kept beside the files."""
        url = f"{self.base}crawl-data/{quote(self.crawl)}/{kind}.paths.gz"
        self.record = _load(self.folder)
        path = self.folder / f"{kind}.paths.gz"
        state = None
        if not self._there(path.name):
            try:
                state = Download(url, path, self.patience, self.stop).run()
            except Gone as gone:
                raise self._no_list(url, gone) from gone
        try:
            paths = _paths(path, ENDS[kind])
            names = {line.rpartition("/")[2]: self.base + quote(line) for line in paths}
            if len(names) != len(paths):
                raise ValueError("two files of one name")
        except (ValueError, OSError, EOFError, zlib.error) as error:
            with open(path, "rb") as file:
                got = f"{error}; it begins with {file.read(16)!r}"
            path.unlink()
            mend = "look at that address in a browser: a proxy or another site may answer in its place"
            raise EnvironmentFault(redacted(url), "is no path list", got=got, expected="gzip of lines like crawl-data/.../name.gz", mend=mend) from error
        if state:
            self._note(path.name, url, state)
        return names

    def _no_list(self, url: str, gone: Gone) -> ConfigError | EnvironmentFault:
        """Why a crawl has no path list: there is no such crawl, or the server is out of reach."""
        if gone.status in (403, 404, 410):
            known = self._crawls()
            if gone.status != 403 or (known and self.crawl not in known):
                with suppress(OSError):  # a misspelled crawl leaves no folder
                    (self.folder / ".lock").unlink()
                    self.folder.rmdir()
                near = get_close_matches(self.crawl, known, n=3)
                mend = f"did you mean {' or '.join(near)}?" if near else "index.commoncrawl.org lists the crawls"
                return ConfigError("--crawl", f"no crawl {self.crawl} at {redacted(self.base)}", got=f"HTTP {gone.status}", expected=redacted(url), mend=mend)
        return EnvironmentFault(
            redacted(url), "cannot be fetched", got=gone, expected="the crawl's path list", mend="mend the network, or wait; then run again"
        )

    def _crawls(self) -> list[str]:
        """Names of the crawls that the server lists; none where it has no such list."""
        url = CRAWLS if self.base == BASE else f"{self.base}collinfo.json"
        with TemporaryDirectory() as folder:
            path = Path(folder) / "collinfo.json"
            try:
                Download(url, path, self.patience.model_copy(update={"attempts": 1}), self.stop).run()
                return [one["id"] for one in json.loads(path.read_bytes())]
            except (Gone, ValueError, TypeError, KeyError):
                return []

    def fetch(self, what: str, chosen: dict[str, str], workers: int) -> Fetched:
        """All of `chosen` (addresses by name) that are not there, `workers` at a time."""
        todo = {name: url for name, url in chosen.items() if not self._there(name)}
        there = len(chosen) - len(todo)
        failed: dict[str, Gone] = {}
        progress = Transfers(what, len(chosen), there)
        results: SimpleQueue[tuple[str, State | Exception]] = SimpleQueue()
        waiting: SimpleQueue[str] = SimpleQueue()
        for name in todo:
            waiting.put(name)
        # threads that end with the process: what they wrote can be continued, so an interrupt need not wait for a slow server
        threads = [Thread(target=self._work, args=(todo, waiting, results, progress), daemon=True) for _ in range(min(workers, len(todo)))]
        try:
            for thread in threads:
                thread.start()
            while progress.done + len(failed) < len(chosen):
                try:
                    name, result = results.get(timeout=0.25)
                except Empty:
                    progress.draw()
                    continue
                progress.close()  # log lines do not mix with the live one
                if isinstance(result, Gone):
                    failed[name] = result
                    log.warning("%s: %s", name, result)
                elif isinstance(result, Exception):
                    raise result
                else:
                    self._note(name, todo[name], result)
                    progress.finished()
        finally:
            self.stop.set()
            progress.close()
            for thread in threads:
                thread.join(1.0)
        if failed:
            raise self._failure(failed, len(chosen))
        return Fetched(self.folder, len(todo), there)

    def _work(self, todo: dict[str, str], waiting: SimpleQueue, results: SimpleQueue, progress: Transfers) -> None:
        while not self.stop.is_set():
            try:
                name = waiting.get_nowait()
            except Empty:
                return
            try:
                download = Download(todo[name], safe_join(self.folder, name), self.patience, self.stop)
                progress.running[name] = download
                results.put((name, download.run()))
            except Stopped:
                return
            except OSError as error:
                mend = "mend the folder; what is finished is kept, and the same command resumes"
                results.put((name, EnvironmentFault(str(self.folder / name), "cannot be written", got=error, expected="a file", mend=mend)))
            except Exception as error:
                results.put((name, error))

    def _failure(self, failed: dict[str, Gone], chosen: int) -> Partial | EnvironmentFault:
        saw = [f"{name}: {gone}" for name, gone in list(failed.items())[:SHOWN]]
        got = "; ".join([*saw, *([f"and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else [])])
        if len(failed) == chosen and all(gone.network for gone in failed.values()):
            return EnvironmentFault(redacted(self.base), "cannot be reached", got=got, expected=f"{chosen} files", mend="mend the network; what came is kept")
        mend = "the same command goes on where each of them stopped; a file that the server does not have never comes: take a smaller --limit"
        return Partial(str(self.folder), f"{len(failed)} of {chosen} files failed", got=got, expected="all", mend=mend)

    def _there(self, name: str) -> bool:
        path = self.folder / name
        return name in self.record and path.is_file() and path.stat().st_size == self.record[name].bytes

    def _note(self, name: str, url: str, state: State) -> None:
        """Say on the disk that a file is finished."""
        size = (self.folder / name).stat().st_size
        checked = [*(["length"] if state.length is not None else []), *sorted(state.sums)]
        made = self.record[name] = Record(name=name, url=redacted(url), bytes=size, etag=state.etag, checked=checked)
        with open(self.folder / RECORD, "a") as file:
            file.write(made.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        log.info("  %s: %s, checked by %s", name, amount(size), ", ".join(checked) or "its end")


def _paths(file: Path, end: str) -> list[str]:
    """The lines of a path list, of which each is a path that ends so.

    Raises:
        ValueError: (or what gzip raises) it is not one.
    """
    with gzip.open(file, "rb") as lines:
        text = lines.read(LONGEST_LIST + 1)
    if len(text) > LONGEST_LIST:
        raise ValueError(f"more than {LONGEST_LIST >> 20} MB")
    paths = text.decode("ascii").splitlines()
    if not paths:
        raise ValueError("no lines")
    for number, path in enumerate(paths, 1):
        if not re.fullmatch(r"(\w[\w.-]*/)+\w[\w.-]*", path) or not path.endswith(end):
            raise ValueError(f"line {number} is {path[:80]!r}")
    return paths


def _load(folder: Path) -> dict[str, Record]:
    """Finished files by name. A line that an interrupt cut is taken out: its file is fetched again."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    text = path.read_text()
    found = list(_records(text.splitlines()))
    if text != (whole := "".join(record.model_dump_json() + "\n" for record in found)):
        write_atomic(path, whole.encode())
    return {record.name: record for record in found}


def _records(lines: Iterable[str]) -> Iterable[Record]:
    for line in lines:
        with suppress(ValidationError):
            yield Record.model_validate_json(line)
