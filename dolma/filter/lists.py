"""Lists of addresses and of words in addresses: those in the recipe, files of your own, and the ones that DataTrove brings along.

Nothing of DataTrove's is kept here: its files are read where it is installed. What is not in the recipe is named there with its sha256, so that the fingerprint
sees a changed list and a run stops at one that nobody chose.
"""

import importlib.util
import io
import re
import tarfile
from codecs import BOM_UTF8
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from dolma.core.config import Strict
from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.files import PinnedFile

Kind = Literal["domains", "strict", "hard", "soft", "listed_domains", "listed", "banned", "soft_banned", "subwords"]

# Where DataTrove keeps which list: `domains` and `urls` are in the archive. `#` begins a comment.
ARCHIVE = "url_filterblacklistsv0_3_0.tar.gz"
ASSETS = {
    "listed_domains": "domains",
    "listed": "urls",
    "banned": "banned_words.txt",
    "soft_banned": "soft_banned_words.txt",
    "subwords": "banned_subwords.txt",
}


class Package(Strict):
    """Lists of an installed package; `sha256` is that of its files one after another (the error of a wrong one names the right one)."""

    name: Literal["datatrove"]
    sha256: str


def bundled(digest: str) -> dict[str, bytes]:
    """The lists of the installed DataTrove, as bytes by kind.

    Raises:
        EnvironmentFault: it is not installed, or holds other files.
        DataError: its files have another sha256.
    """
    found = importlib.util.find_spec("datatrove")
    where = "tag_url: package datatrove"
    if found is None or not found.submodule_search_locations:
        raise EnvironmentFault(where, "DataTrove is not installed", mend="pip install 'dolma-flow[web]', or take `package` out of the recipe")
    folder = Path(found.submodule_search_locations[0]) / "assets"
    try:
        files = {name: (folder / name).read_bytes() for name in sorted({ARCHIVE, *ASSETS.values()}) if name not in ("domains", "urls")}
    except FileNotFoundError as error:
        raise EnvironmentFault(
            where, "this DataTrove has other lists", got=f"no {Path(error.filename).name}", expected="0.9", mend="pip install 'dolma-flow[web]'"
        ) from error
    _verify(where, b"".join(files.values()), digest)
    with tarfile.open(fileobj=io.BytesIO(files[ARCHIVE]), mode="r:gz") as archive:
        for one in archive:  # in their order: going back would unpack the archive again
            content = archive.extractfile(one)
            files[one.name] = content.read() if content else b""
    return {kind: files[name] for kind, name in ASSETS.items()}


def own(file: PinnedFile) -> bytes:
    """The bytes of a list of the user's, without a byte order mark: a text file with one entry a line. A line that begins with `#` is a comment;
    a later `#` is part of the entry, as in addresses.

    Raises:
        EnvironmentFault: it cannot be read any more.
        DataError: it has changed since the recipe was compiled.
    """
    where = f"tag_url: files: {file.path}"
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        raise EnvironmentFault(where, "cannot be read", got=error.strerror, expected="a list", mend="mend the path; every worker must see it") from error
    _verify(where, content, file.sha256)
    return content.removeprefix(BOM_UTF8)


def _verify(where: str, content: bytes, expected: str) -> None:
    digest = sha256(content).hexdigest()
    if digest != expected:
        raise DataError(where, "the list is not the one that the recipe names", got=digest, expected=expected, mend="write the new sha256 into the recipe")


def entries(content: bytes) -> list[str]:
    """The entries of a list file: lines that are not empty and no comment, without white space around them."""
    lines = (line.strip() for line in content.decode("utf-8", "replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


class Hashed:
    """A set of up to millions of strings as sorted 64-bit hashes, 8 bytes each: with 5 million of them one look-up in 4e12 is a false hit."""

    def __init__(self, content: bytes, fold: bool = False) -> None:
        from dolma.kernels.hashes import hash_lines

        self.hashes = hash_lines(np.frombuffer(content, np.uint8), fold)
        self.hashes.sort()

    def __contains__(self, text: str) -> bool:
        return bool(self.hold([text])[0])

    def hold(self, texts: list[str]) -> np.ndarray:
        """Which of `texts` are in the set."""
        from dolma.kernels.hashes import hash_rows
        from dolma.kernels.words import buffers

        wanted = hash_rows(*buffers(pa.array(texts, pa.large_string())))
        at = np.minimum(np.searchsorted(self.hashes, wanted), max(len(self.hashes) - 1, 0))
        return self.hashes[at] == wanted if len(self.hashes) else np.zeros(len(texts), bool)


_NO_PART = re.compile(r"[^a-z0-9]+")


def squeezed(text: str) -> str:
    """Lower case without anything but ASCII letters and digits."""
    return _NO_PART.sub("", text.lower())


def parts(text: str) -> set[str]:
    """The runs of ASCII letters and digits of a lower-case text."""
    return set(_NO_PART.split(text))


def plain_host(name: str) -> str:
    """A host name in lower case without `www.`."""
    return name.lower().rstrip(".").removeprefix("www.")


def hosts(names: Iterable[str]) -> bytes:
    """Host names as one list."""
    return "\n".join(plain_host(name) for name in names).encode()
