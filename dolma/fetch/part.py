"""The beginning of a file that is still being fetched, and what its server promised of the whole."""

import binascii
import hashlib
import os
import re
import zlib
from base64 import b64decode
from email.message import Message
from http.client import HTTPResponse
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from dolma.core.config import Strict
from dolma.core.files import disk_errors, write_atomic

BLOCK = 1 << 20


class State(Strict):
    """What a reply said of a file: its length in bytes (None: chunked), its validators, and checksums as hexadecimal by algorithm."""

    length: int | None
    etag: str | None
    modified: str | None
    sums: dict[str, str]

    @property
    def validator(self) -> str:
        """What If-Range may name: a strong ETag, else the date; empty: the file cannot be continued."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.modified or ""

    def goes_on(self, headers: Message, start: int) -> bool:
        """Whether a 206 reply gives all the rest of this very file from `start` on; a server that ignores If-Range may give that of another."""
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
        if found is None or (int(found[1]), int(found[2])) != (start, int(found[3]) - 1):
            return False
        changed = [kept and now and kept != now for kept, now in ((self.etag, headers.get("ETag")), (self.modified, headers.get("Last-Modified")))]
        return self.length in (None, int(found[3])) and not any(changed)


def of_reply(reply: HTTPResponse) -> State:
    """The state that a 200 reply promises."""
    headers = reply.headers
    length = headers.get("Content-Length", "").strip()
    chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
    return State(
        length=int(length) if length.isdigit() and not chunked else None, etag=headers.get("ETag"), modified=headers.get("Last-Modified"), sums=_sums(headers)
    )


def _sums(headers: Message) -> dict[str, str]:
    """Checksums of the whole file: Content-MD5 (RFC 1864), S3's x-amz-checksum-*, and S3's ETag where it is an MD5.

    S3's ETag is one for an upload in one piece that is not encrypted with a KMS key (S3 API reference, "Object"); other servers make 32 hexadecimal
    digits of a name and a date. A checksum of checksums (composite, `…-12`) is none of the file.
    """
    found = {"md5": headers.get("Content-MD5", "")}
    if headers.get("x-amz-checksum-type", "").upper() != "COMPOSITE":
        found |= {kind: headers.get(f"x-amz-checksum-{kind}", "") for kind in ("sha256", "sha1", "crc32")}
    sums = {kind: text for kind, value in found.items() if (text := _hex(value))}
    etag = headers.get("ETag", "").strip('"')
    amazon = headers.get("Server") == "AmazonS3" or "x-amz-request-id" in headers
    if amazon and re.fullmatch(r"[0-9a-f]{32}", etag) and "kms" not in headers.get("x-amz-server-side-encryption", ""):
        sums.setdefault("md5", etag)
    return sums


def _hex(value: str) -> str:
    try:
        return b64decode(value, validate=True).hex()
    except binascii.Error:
        return ""


class Part:
    """`NAME.part` and `NAME.part.json` beside the file that they become."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = path.with_name(f"{path.name}.part")
        self.said = path.with_name(f"{path.name}.part.json")

    def held(self) -> tuple[int, State | None]:
        """Bytes that are there and can be continued, and the state they belong to; (0, None) without."""
        try:
            state = State.model_validate_json(self.said.read_bytes())
            size = self.bytes.stat().st_size
        except (FileNotFoundError, ValidationError):
            return 0, None
        usable = size and state.length is not None and size <= state.length and state.validator
        return (size, state) if usable else (0, None)

    def begin(self, state: State) -> None:
        """Nothing of the file is there; it will be that of `state`."""
        self.clear()
        write_atomic(self.said, state.model_dump_json().encode())

    def append(self) -> IO[bytes]:
        """The file that bytes are added to."""
        return open(self.bytes, "ab")

    def clear(self) -> None:
        """Forget what is there: the bytes first, so that no others are taken for those of the state."""
        self.bytes.unlink(missing_ok=True)
        self.said.unlink(missing_ok=True)

    def wrong(self, state: State) -> str:
        """What of the whole file differs from the promise; empty when nothing does."""
        size = self.bytes.stat().st_size
        if state.length is not None and size != state.length:
            return f"{size:,} bytes came, {state.length:,} were promised"
        got = _hashes(self.bytes, state.sums)
        return next((f"its {kind} is not the promised one" for kind, value in got.items() if value != state.sums[kind]), "")

    def finish(self) -> None:
        """Give the bytes their name."""
        with disk_errors(self.path):
            with open(self.bytes, "ab") as file:
                os.fsync(file.fileno())
            os.replace(self.bytes, self.path)
            self.said.unlink(missing_ok=True)


def _hashes(path: Path, kinds: dict[str, str]) -> dict[str, str]:
    digests = {kind: hashlib.new(kind) for kind in kinds if kind != "crc32"}
    crc = 0
    with open(path, "rb") as file:
        while kinds and (block := file.read(BLOCK)):
            for digest in digests.values():
                digest.update(block)
            crc = zlib.crc32(block, crc) if "crc32" in kinds else 0
    found = {kind: digest.hexdigest() for kind, digest in digests.items()}
    return found | ({"crc32": f"{crc:08x}"} if "crc32" in kinds else {})
