"""PDFs written by hand: long texts on pages, one behind a password, one cut short, one that is pictures of pages.

Only what the texts need of PDF 1.4: Helvetica and Courier, which every reader has, compressed page contents, one image kind, the first encryption of
the format (40 bits, section 3.5 of the PDF reference 1.4). No package that typesets is needed, and the bytes are the same everywhere.
"""

import zlib
from collections.abc import Sequence
from hashlib import md5, sha256
from textwrap import wrap

from dolma.gather.markup import Block

LINES = 54  # on a page
WIDTH = {"p": 88, "li": 84, "h": 60, "pre": 90}  # characters that fit on a line of each kind
PAD = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")  # algorithm 3.2: what fills a password up to 32 bytes
ALLOW = -4  # all permissions, as the signed number of section 3.5.2

Line = tuple[str, str]  # kind, text


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) & 255
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) & 255
        j = (j + state[i]) & 255
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) & 255])
    return bytes(out)


class _File:
    """Objects of a PDF, numbered from 1, and how they are written."""

    def __init__(self, name: str, password: str = "") -> None:
        self.objects: list[tuple[bytes, bytes | None]] = []
        self.name, self.id = name, sha256(name.encode()).digest()[:16]
        self.key, self.locked = b"", b""
        if password:
            padded = (password.encode() + PAD)[:32]
            owner = _rc4(md5(padded).digest()[:5], padded)
            self.key = md5(padded + owner + ALLOW.to_bytes(4, "little", signed=True) + self.id).digest()[:5]
            user = _rc4(self.key, PAD)
            self.locked = b"/Filter /Standard /V 1 /R 2 /P %d /O <%s> /U <%s>" % (ALLOW, owner.hex().encode(), user.hex().encode())

    def add(self, head: str, stream: bytes | None = None) -> int:
        """Number of a new object."""
        self.objects.append((head.encode("latin-1", "replace"), stream))
        return len(self.objects)

    def write(self, root: int) -> bytes:
        """The whole file."""
        out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
        places = []
        for number, (head, stream) in enumerate(self.objects, 1):
            places.append(len(out))
            out += b"%d 0 obj\n" % number
            if stream is None:
                out += b"<<" + head + b">>\nendobj\n"
                continue
            if self.key:
                stream = _rc4(md5(self.key + number.to_bytes(3, "little") + b"\0\0").digest()[:10], stream)
            out += b"<<%s /Length %d>>\nstream\n" % (head, len(stream)) + stream + b"\nendstream\nendobj\n"
        start = len(out)
        out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1) + b"".join(b"%010d 00000 n \n" % place for place in places)
        locked = b" /Encrypt <<%s>>" % self.locked if self.locked else b""
        digest = self.id.hex().encode()
        out += b"trailer\n<</Size %d /Root %d 0 R /ID [<%s> <%s>]%s>>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, root, digest, digest, locked, start)
        return bytes(out)


def lines(blocks: Sequence[Block]) -> list[Line]:
    """Blocks broken into lines, with an empty one after each block."""
    made: list[Line] = []
    for kind, text in blocks:
        if kind == "pre":
            rows = [row[i : i + WIDTH["pre"]] for row in text.split("\n") for i in range(0, max(1, len(row)), WIDTH["pre"])]
        else:
            rows = wrap(("- " if kind == "li" else "") + text.replace("`", ""), WIDTH[kind], subsequent_indent="  " if kind == "li" else "")
        made += [(kind, row) for row in rows] + [("p", "")]
    return made


def _content(page: Sequence[Line], title: str, number: int) -> bytes:
    def shown(text: str) -> bytes:
        return text.encode("cp1252", "replace").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")

    out = [b"BT /F1 8 Tf 72 760 Td (%s) Tj ET" % shown(title), b"BT /F1 8 Tf 300 36 Td (%d) Tj ET" % number, b"BT 13 TL 72 735 Td"]
    for kind, text in page:
        font = {"h": b"/F3 12 Tf", "pre": b"/F2 8 Tf"}.get(kind, b"/F1 10 Tf")
        out.append(b"%s (%s) Tj T*" % (font, shown(text)))
    return b"\n".join([*out, b"ET"])


def document(name: str, title: str, blocks: Sequence[Block], pages: int, password: str = "") -> bytes:
    """A PDF of at most `pages` pages; with a password it cannot be read without."""
    found = lines(blocks)[: pages * LINES]
    file = _File(name, password)
    root, tree = file.add("/Type /Catalog /Pages 2 0 R"), file.add("")
    fonts = " ".join(
        f"/F{n} {file.add(f'/Type /Font /Subtype /Type1 /BaseFont /{base} /Encoding /WinAnsiEncoding')} 0 R"
        for n, base in enumerate(("Helvetica", "Courier", "Helvetica-Bold"), 1)
    )
    kids = []
    for number in range(0, len(found), LINES):
        content = file.add("/Filter /FlateDecode", zlib.compress(_content(found[number : number + LINES], title, number // LINES + 1)))
        kids.append(file.add(f"/Type /Page /Parent {tree} 0 R /MediaBox [0 0 612 792] /Resources <</Font <<{fonts}>>>> /Contents {content} 0 R"))
    file.objects[tree - 1] = (f"/Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}]".encode(), None)
    return file.write(root)


def pictures(name: str, blocks: Sequence[Block], pages: int) -> bytes:
    """A PDF whose pages are images, as a scanner makes them: grey bars where words would be, and no text layer."""
    wide, high = 306, 396
    found = [line for line in lines(blocks) if line[1]]
    file = _File(name)
    root, tree = file.add("/Type /Catalog /Pages 2 0 R"), file.add("")
    kids = []
    for number in range(pages):
        grey = bytearray(b"\xff" * (wide * high))
        for row, (_, text) in enumerate(found[number * 50 : number * 50 + 50]):
            bar = bytes(30 if char != " " else 255 for char in text[:90] for _ in range(3))
            for y in range(20 + row * 7, 24 + row * 7):
                grey[y * wide + 18 : y * wide + 18 + len(bar)] = bar
        head = f"/Type /XObject /Subtype /Image /Width {wide} /Height {high} /ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /FlateDecode"
        image = file.add(head, zlib.compress(bytes(grey)))
        content = file.add("", b"q 612 0 0 792 0 0 cm /I Do Q")
        kids.append(file.add(f"/Type /Page /Parent {tree} 0 R /MediaBox [0 0 612 792] /Resources <</XObject <</I {image} 0 R>>>> /Contents {content} 0 R"))
    file.objects[tree - 1] = (f"/Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}]".encode(), None)
    return file.write(root)


def broken(whole: bytes) -> bytes:
    """A PDF whose download stopped before its first page was complete."""
    return whole[: max(400, len(whole) // 50)]
