"""Files: hashes, atomic writes, finding inputs, and paths that cannot leave their folder."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from glob import escape, glob
from hashlib import file_digest
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from dolma.core.config import Strict
from dolma.core.errors import ConfigError, DataError, DolmaError, EnvironmentFault

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()  # through one buffer that stays in the cache


def version(path: Path | str) -> tuple[int, ...]:
    """What tells a file from the one that stood at its path before: for what a process keeps of it in memory, since workers of Spark outlive a run."""
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return ()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class PinnedFile(Strict):
    """A file anywhere on this machine; refused when a recipe is compiled, before any data is read, unless it is the one meant."""

    file: str = Field(description="absolute path; `~` and `$VARIABLE` are filled in")
    sha256: str = Field(description="hex digest of its bytes, so that the recipe says which file it means", pattern="^[0-9a-f]{64}$")

    @property
    def path(self) -> str:
        """The file with its variables filled in."""
        return os.path.expandvars(os.path.expanduser(self.file))

    def inspect(self) -> None:
        """Look into the file before its hash is taken: a subclass says what it must hold."""

    @model_validator(mode="after")
    def _meant(self) -> Self:
        if not os.path.isabs(self.path):
            mend = "give the whole path, or set the variable in it"
            raise ConfigError("recipe", "`file` is no absolute path", got=self.path, expected="/...", mend=mend)
        self.inspect()
        try:
            got = _digest(self.path, *version(self.path))
        except OSError as error:
            mend = "mend the path; every worker must see it"
            raise EnvironmentFault(self.path, "cannot be read", got=error.strerror, expected="the file that the recipe names", mend=mend) from error
        if got != self.sha256:
            raise DataError(self.path, "this is another file", got=got, expected=self.sha256, mend="get the right file, or write its hash into the recipe")
        return self


@lru_cache(16)
def _digest(path: str, *version: int) -> str:
    return sha256(Path(path))


def sync(path: Path) -> None:
    """Bring a file, or a folder and all files in it, to the disk, so that a rename afterwards cannot outlive their bytes."""
    if path.is_dir():
        for inner in path.iterdir():
            sync(inner)
    sync_names(path)


def sync_names(path: Path) -> None:
    """Bring a file's bytes, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` so that `path` either has all of it or does not change: temporary name, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error with a mend (exit 4); DuckDB says it in words only."""
    try:
        yield
    except DolmaError:
        raise
    except Exception as error:
        words = next((os.strerror(code) for code in FULL if getattr(error, "errno", None) == code or os.strerror(code) in str(error)), None)
        if words is None:
            raise
        raise EnvironmentFault(
            str(path),
            f"cannot write: {words}",
            got=f"{_free(path)} free",
            expected="room for one shard",
            mend="free space or set another `root` in the env; what is finished is kept, and the same command resumes",
        ) from error


def _free(path: Path) -> str:
    while not path.exists():
        path = path.parent
    stat = os.statvfs(path)
    return f"{stat.f_bavail * stat.f_frsize / 1e9:.1f} GB"


def find(root: Path, patterns: list[str], where: str) -> list[Path]:
    """Sorted files below `root` that match any of the glob `patterns`.

    Raises:
        DataError: a pattern matches no file, and the message names the nearest files; or a name is not UTF-8.
        EnvironmentFault: see `require_utf8`.
    """
    require_utf8()
    found: set[Path] = set()
    for pattern in patterns:
        hits = [Path(p) for p in glob(os.path.join(escape(str(root)), pattern), recursive=True) if os.path.isfile(p)]
        if not hits:
            there = sorted(_shown(p.relative_to(root)) for p in root.rglob("*") if p.is_file())[:10_000] if root.is_dir() else []
            near = get_close_matches(pattern, there, n=3, cutoff=0.3) or there[:3]
            raise DataError(
                where,
                f"no file matches {root / pattern}",
                got="0 files",
                expected="at least 1",
                mend=f"nearest: {', '.join(near)}" if near else f"{root} has no files: run `dolma gather`, or set `raw` in the env",
            )
        found.update(hits)
    for path in found:
        if not _is_text(path):
            mend = "rename it to UTF-8 (convmv, or a glob of the shell): its name goes into ids and manifests"
            raise DataError(_shown(path), "a file name is not UTF-8", got=repr(os.fsencode(path.name)), expected="UTF-8", mend=mend)
    return sorted(found)


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: Path) -> str:
    """A path for a message: bytes that are not UTF-8 as \\x.."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def require_utf8() -> None:
    """Refuse to go on where Python takes file names for something else than UTF-8: the same file would have another name in manifests.

    The locale C alone is no such place, since Python reads UTF-8 there unless PYTHONUTF8=0 forbids it (PEP 540).

    Raises:
        EnvironmentFault: another encoding.
    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise EnvironmentFault("the locale", "file names are not UTF-8 here", got=encoding, expected="utf-8", mend="set LC_ALL=C.UTF-8, or unset PYTHONUTF8")


def safe_join(folder: Path, name: str) -> Path:
    """`folder / name`, refused when a name that came from data leaves the folder."""
    path = Path(os.path.realpath(folder / name))
    if "\0" in name or os.path.isabs(name) or not path.is_relative_to(os.path.realpath(folder)):
        raise DataError(str(folder), "a file name leaves its folder", got=repr(name), expected="a relative path inside", mend="do not use this dataset")
    return path


class lock:
    """One run writes a dataset at a time; a second is refused, and a killed one leaves no lock behind."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / ".lock"

    def __enter__(self) -> None:
        import fcntl

        self.file = open(self.path, "w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EnvironmentFault(
                str(self.path.parent), "another run is writing this dataset", got="a lock that is held", expected="none", mend="wait for it, or stop it"
            ) from error

    def __exit__(self, *_: object) -> None:
        self.file.close()
