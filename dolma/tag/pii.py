"""Personal data in text: e-mail addresses, telephone numbers and IP addresses as spans, and a step that puts a token in their place."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from ipaddress import AddressValueError, IPv6Address
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import DataError
from dolma.core.schema import append
from dolma.core.step import step

SPANS = pa.list_(pa.struct({"kind": pa.string(), "start": pa.int32(), "end": pa.int32()}))
Span = tuple[str, int, int]

_NO_DOMAIN = r"(?!(?:png|jpe?g|gif|svg|webp|css|js|json|html?|php|service|socket|timer|mount)(?![a-z0-9_]))"  # files and units of systemd
# Marks that stand on the letter before (`o\u0308`, vowels of India), joiners among them: no `\w` in Python
_MARK = "\u200c\u200d" + "".join(chr(c) for c in (*range(0x300, 0x1DFF), *range(0xA66F, 0xABFF)) if unicodedata.category(chr(c))[0] == "M")
# Scripts that words of another stand against without a blank: Thai, Lao, Tibetan, Burmese, Khmer, Hangul, kana, bopomofo, Han. Source: Unicode 16, blocks
_DENSE = (
    r"\u0e00-\u0e4e\u0e80-\u0ecd\u0f40-\u0fbc\u1000-\u109f\u1100-\u11ff\u1780-\u17d3\u3005-\u3007\u3041-\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u318f"
    r"\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_LATIN = rf"ß-öø-ÿ\u0100-\u024f\u1e00-\u1eff{_MARK}"  # small letters and marks beside those of ASCII
_SPACED = rf"(?![{_DENSE}])[\w{_MARK}"  # a letter or digit of all other scripts; what else may stand there follows, and a bracket
_LOCAL = rf"(?![{_DENSE}])\w(?:{_SPACED}%+'-])*(?:\.(?:{_SPACED}%+'-])+)*@"
_MIXED = rf"\w[\w{_MARK}%+'-]*(?:\.[\w{_MARK}%+'-]+)*(?:(?<=[{_DENSE}])@|@(?=[{_DENSE}]))"
_LABEL = rf"(?:(?!_|[{_DENSE}])\w(?:(?:(?!_){_SPACED}-]){{0,61}}(?!_){_SPACED}])?|[{_DENSE}](?:[{_DENSE}0-9-]{{0,61}}[{_DENSE}0-9])?)"
_LAST = (
    # the last label is of one case, so that it ends where `a@example.comEnglish` goes on; `ö` is within it (`vermögensberater`) and never its last, as in
    # text of a wrong charset, `a@example.orgâ`; IANA's longest of a dense script has 6 letters
    rf"{_NO_DOMAIN}(?:(?-i:[A-Z]?[a-z]{{1,23}}(?<=[A-Za-z]{{2}})(?![a-z0-9_-]|[{_LATIN}]+[a-z])|[A-Z]{{2,24}}(?![A-Za-z0-9_-]))"
    rf"|(?=[a-z]*(?![{_DENSE}])[^\W\x00-\x7f])(?:(?![0-9_]){_SPACED}]){{2,24}}|[{_DENSE}]{{2,6}})"
)
_CONTEXT = 48  # characters before four numbers in which a word tells what they are
_LINK = re.compile(r"(?<!mailto)://[^\s?#@]*$")  # `https://name:word@host`, `https://lists.example.org/message-id@host`
_GAP = r"[ .\-\u00a0\u2010-\u2013]"
_AREA = rf"[2-9]\d\d(?:{_GAP}|/)"
_BRACKETED = rf"\([2-9]\d\d\){_GAP}{{0,2}}"
_BETWEEN = r"[ .\-/()\u00a0\u2010-\u2013]{0,3}"  # no two ways to read a number: linear time
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_NUMBER = re.compile(
    # IPv4, not in `1.2.3.4.5`, `name-1.2.3.4`, `Chrome/120.0.0.0`, `1.2.3.4-beta`
    rf"(?P<ip>(?<![\w.+-])(?<!\w/)(?:{_OCTET}\.){{3}}{_OCTET}(?!\w|\.\d|-[a-z]))"
    # North America: area code and exchange begin with 2 to 9. Source: North American Numbering Plan, NXX
    rf"|(?P<american>(?:(?<![\w$#/.+-])\+?1{_GAP}?(?:{_BRACKETED}|{_AREA})|(?<!\d){_BRACKETED}|(?<![\w$#/.-]){_AREA})[2-9]\d\d{_GAP}\d{{4}}(?![a-wyz\d@]|[./-]\d))"
    # international: `+` and 9 to 15 digits. Source: ITU-T E.164 for 15; fewer are sums as often as numbers
    rf"|(?P<abroad>(?<![\w+])(?<![\w+]\()(?:\((?=\+\d{{1,3}}\)))?\+(?!\d{{4,}}\.)[1-9](?:{_BETWEEN}\d){{8,14}}(?![a-wyz\d@]|[.,]\d))",
    re.ASCII | re.IGNORECASE,
)
_NATIONAL = re.compile(rf"\(?\d(?:{_BETWEEN}\d){{6,14}}(?![a-wyz\d@]|[.,]\d)", re.ASCII | re.IGNORECASE)
_CALLED = re.compile(
    r"(?:\b(?:tele(?:f[oó]n[oe]?|phone?)|tel|phone|fax|telefax|t[ée]l[ée]phone|mobile?|handy|hotline|whatsapp)\b|[☎☏✆📞📱])\W{0,4}$", re.IGNORECASE
)
_VERSION = re.compile(
    r"(?:\b(?:v|ver|versions?|releases?|rev|revision|build|firmware|driver|update|sections?|sec|chapter|clause|article|table|figure|fig|appendix|isbn|doi|oid)"
    r"|§)[\s.:=\"'(]{0,3}$",
    re.IGNORECASE,
)
_NETWORK = re.compile(r"\b(?:ips?|ipv4|address(?:es)?|addr|hosts?|server|dns|ping|gateway|subnet|router|proxy|client|nameserver)\b|//$|@$", re.IGNORECASE)
_PORT = re.compile(r":\d{2,5}\b")
# Networks whose addresses name no one outside: this host, private, loopback, link-local, multicast and masks. Source: RFC 6890, 1918, 5771
_NOBODY = re.compile(r"(?:0|10|127|22[4-9]|2[3-5]\d)\.|192\.168\.|169\.254\.|172\.(?:1[6-9]|2\d|3[01])\.")


@step(needs=("text",), adds={"pii": SPANS}, version=2)
def tag_pii(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The personal data in the text as `pii`: a list of (kind, start, end), sorted, disjoint; offsets in code points of `text`.

    Kinds: `email` (letters of any script on both sides of the `@`);
    `phone` (North American forms, `+` and 9 to 15 digits, and any 7 to 15 digits after a word such as `Tel.` or `Fax`); `ip` (IPv4 and
    IPv6 that are valid outside a private network, without versions and section numbers). The span has no blanks around it. An empty list where nothing is.
    In SQL: `len(pii)`, `len([p for p in pii if p.kind = 'email'])`, `[text[p.start + 1:p."end"] for p in pii]`.

    Source: kinds of the Dolma toolkit's `pii_regex`; arXiv:2402.00159; the rules are our own.
    """
    return append(batch, {"pii": pa.array(find(batch.column("text")), SPANS)})


@step(needs=("text", "pii"), adds={"text": pa.large_string(), "pii": SPANS})
def mask_pii(batch: pa.RecordBatch, *, email: str = "|||EMAIL_ADDRESS|||", phone: str = "|||PHONE_NUMBER|||", ip: str = "|||IP_ADDRESS|||") -> pa.RecordBatch:
    """The text with a token in the place of each span of `pii`; `pii` then says where the tokens stand (an empty token leaves no span). All else stays.

    Raises:
        DataError: a span is not in the text, or what stands there is none of its kind: the text was changed after `tag_pii`.
    Source: tokens of Dolma, arXiv:2402.00159.
    """
    tokens = {"email": email, "phone": phone, "ip": ip}
    texts, spans = batch.column("text").cast(pa.large_string()), batch.column("pii").to_pylist()
    some = pa.array([bool(row) for row in spans], pa.bool_())
    made = [_masked(text, row, tokens) for text, row in zip(texts.filter(some).to_pylist(), filter(None, spans), strict=True)]
    moved = iter(row for _, row in made)
    text = pc.replace_with_mask(texts, some, pa.array([text for text, _ in made], pa.large_string()))
    return append(batch, {"text": text, "pii": pa.array([next(moved) if row else row for row in spans], SPANS)})


def _masked(text: str | None, spans: list[dict[str, Any]], tokens: dict[str, str]) -> tuple[str, list[Span]]:
    parts: list[str] = []
    moved: list[Span] = []
    done = size = 0
    for span in spans:
        kind, start, end = span["kind"], span["start"], span["end"]
        there = (text or "")[start:end]
        if not (done <= start < end <= len(text or "")) or not (there == tokens[kind] or ("@" in there if kind == "email" else re.search(r"\d", there))):
            mend = "put `tag_pii` after the last step that edits the text"
            raise DataError("mask_pii", f"{kind} at {start}:{end} is none", got=repr(there[:40]), expected=f"a span of {kind} in the text", mend=mend)
        parts += [(text or "")[done:start], tokens[kind]]
        size += start - done
        moved += [(kind, size, size + len(tokens[kind]))] if tokens[kind] else []
        size, done = size + len(tokens[kind]), end
    return "".join([*parts, (text or "")[done:]]), moved


def find(texts: pa.Array) -> Iterator[list[Span]]:
    """For each text its spans (kind, start, end) in code points, sorted and disjoint."""
    from dolma.kernels import contacts
    from dolma.kernels.words import buffers

    data, offsets = buffers(texts)
    content = data.data
    rows: list[list[Span]] = [[] for _ in range(len(texts))]
    for row, kind, left, start, end, point in contacts.places(data, offsets).tolist():
        before, place = str(content[left:start], "utf-8", "replace"), str(content[start:end], "utf-8", "replace")
        if kind == contacts.MAIL:
            found = _mails(before + place, len(before))
        elif kind == contacts.GROUPS:
            found = _groups(place)
        else:
            after = min(end + 4, int(offsets[row + 1]))  # what follows decides too; a character that is cut counts as none
            found = _numbers(before + place + str(content[end:after], "utf-8", "ignore"), len(before), len(before) + len(place))
        rows[row] += [(name, point + first, point + last) for name, first, last in found]
    return map(_disjoint, rows)


@cache
def _mail() -> re.Pattern[str]:
    """An address. Compiled when it is first looked for: .1 CPU s, for the letters of all scripts in both cases."""
    return re.compile(
        # scripts mix before a dense letter or after one; else `邮箱` is not of `邮箱abc@example.com`, nor `으로` of `abc@example.com으로`
        rf"(?:{_MIXED}|{_LOCAL})(?:(?:{_LABEL}\.)+{_LAST}|(?:(?!_)[\w{_MARK}-]{{1,63}}\.)+{_LAST})",
        re.IGNORECASE,
    )


def _mails(text: str, start: int) -> Iterator[Span]:
    found = _mail().search(text, start)
    if found and not _LINK.search(text[: found.start()]) and not found.group().startswith("git@"):
        yield "email", *found.span()


def _groups(place: str) -> Iterator[Span]:
    address = place.rstrip(":")
    try:
        IPv6Address(address)
    except AddressValueError:
        return
    if len(list(filter(None, address.split(":")))) >= 3:
        yield "ip", 0, len(address)


def _numbers(text: str, start: int, end: int) -> Iterator[Span]:
    """The telephone numbers and IPv4 addresses that begin in `text[start:end]`; what stands before and after only decides."""
    at, called = start, _CALLED.search(text[:start])
    while found := _NUMBER.search(text, at):
        if found.start() >= end:
            break
        at = found.end()
        if found.lastgroup == "ip":
            if not _NOBODY.match(found.group()) and _address(text, *found.span()):
                called = None
                yield "ip", *found.span()
        elif found.lastgroup == "abroad" or _grouped(found.group()) or called:
            called = None
            yield "phone", *found.span()
    if called and (found := _NATIONAL.match(text, start)):
        yield "phone", *found.span()


def _address(text: str, first: int, last: int) -> bool:
    """Whether four numbers are an address and no version or section: by numbers of three digits, the first or two others, or by the words around."""
    before, numbers = text[max(0, first - _CONTEXT) : first], text[first:last].split(".")
    if _VERSION.search(before):
        return False
    long = [len(number) == 3 for number in numbers]
    return bool(long[0] or sum(long) > 1 or _NETWORK.search(before) or _PORT.match(text, last))


def _grouped(number: str) -> bool:
    """Whether more than blanks holds ten digits together, as in no table of numbers."""
    return bool(re.search(r"[(./\-\u2010-\u2013]|^\+", number))


def _disjoint(spans: list[Span]) -> list[Span]:
    spans.sort(key=lambda span: (span[1], -span[2]))
    kept: list[Span] = []
    for span in spans:
        if not kept or span[1] >= kept[-1][2]:
            kept.append(span)
    return kept
