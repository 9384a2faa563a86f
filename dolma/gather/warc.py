"""WARC files as a crawler writes them: one gzip member a record, HTTP headers in front of the body."""

import gzip
from base64 import b32encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha1, sha256

PHRASES = {200: "OK", 301: "Moved Permanently", 302: "Found", 404: "Not Found", 410: "Gone", 500: "Internal Server Error", 503: "Service Unavailable"}
START = datetime(2025, 1, 6, 3, 0, 0)
MINUTES = 60 * 24 * 120  # captures lie within 120 days of the start


@dataclass(frozen=True)
class Capture:
    """One answer of a web server. `turn` tells two captures of one address apart."""

    url: str
    body: bytes
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    location: str = ""
    turn: int = 0


def _member(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=6, mtime=0)


def _digest(content: bytes) -> str:
    return "sha1:" + b32encode(sha1(content).digest()).decode()


def _uuid(digest: bytes) -> str:
    text = digest[:16].hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:32]}"


def info(name: str) -> bytes:
    """The first record of a file."""
    block = b"software: dolma gather\r\nformat: WARC File Format 1.0\r\ndescription: documentation of this machine as web pages\r\n"
    head = (
        f"WARC/1.0\r\nWARC-Type: warcinfo\r\nWARC-Record-ID: <urn:uuid:{_uuid(sha256(name.encode()).digest())}>\r\nWARC-Filename: {name}\r\n"
        f"WARC-Date: {START:%Y-%m-%dT%H:%M:%SZ}\r\nContent-Type: application/warc-fields\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return _member(head.encode() + block + b"\r\n\r\n")


def response(capture: Capture, seed: int) -> bytes:
    """The record of a capture; its id and its date follow from its address, its turn and the seed."""
    digest = sha256(f"{seed}\0{capture.url}\0{capture.turn}".encode()).digest()
    date = START + timedelta(minutes=int.from_bytes(digest[16:20], "big") % MINUTES, days=7 * capture.turn)
    location = f"Location: {capture.location}\r\n" if capture.location else ""
    http = (
        f"HTTP/1.1 {capture.status} {PHRASES[capture.status]}\r\nContent-Type: {capture.content_type}\r\n{location}Server: nginx\r\n"
        f"Content-Length: {len(capture.body)}\r\n\r\n"
    ).encode() + capture.body
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{_uuid(digest)}>\r\nWARC-Target-URI: {capture.url}\r\n"
        f"WARC-Date: {date:%Y-%m-%dT%H:%M:%SZ}\r\nWARC-Payload-Digest: {_digest(capture.body)}\r\nWARC-Block-Digest: {_digest(http)}\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return _member(head.encode() + http + b"\r\n\r\n")
