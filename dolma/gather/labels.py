"""Labelled texts for the classifiers: prose against menus and tables (quality), and texts by the topic of their package."""

from hashlib import sha256
from random import Random
from typing import Any

from dolma.gather.docs import Page, order
from dolma.gather.markup import to_text
from dolma.gather.site import FOOT, MENU
from dolma.gather.topics import COARSE

LEAST, MOST = 300, 1800  # characters of a labelled text


def _id(kind: str, text: str) -> str:
    return f"{kind}-{sha256(text.encode()).hexdigest()[:12]}"


def _parts(page: Page, kinds: str) -> list[str]:
    """Texts of labelled length from one page, whole blocks each."""
    made, current = [], ""
    for part in to_text(list(page.blocks), kinds).split("\n\n"):
        if len(current) + len(part) > MOST and len(current) >= LEAST:
            made.append(current)
            current = ""
        current = f"{current}\n\n{part}".strip() if len(part) <= MOST else current
    return [*made, current] if len(current) >= LEAST else made


def quality(pages: list[Page], seed: int, count: int) -> list[dict[str, Any]]:
    """`count` texts: half prose of documentation, half what surrounds it (menus, lists of names, tables of numbers, signatures)."""
    random = Random(f"quality {seed}")
    made: dict[str, dict[str, Any]] = {}
    drawn = sorted((page for page in pages if page.kind != "licence"), key=lambda page: order(seed, "quality", page.package, page.name))
    for page in drawn:
        prose = [part for part in _parts(page, "p") if sum(len(line) > 60 for line in part.split("\n\n")) * 2 >= len(part.split("\n\n"))]
        if prose and len(made) < count:
            text = random.choice(prose)
            made[text] = _label(text, 1, page, "prose of a documentation page")
            text, reason = _poor(page, drawn, random)
            made[text] = _label(text, 0, page, reason)
    return sorted(made.values(), key=lambda row: row["id"])


def _label(text: str, label: int, page: Page, reason: str) -> dict[str, Any]:
    return {"id": _id("q", text), "text": text, "label": label, "strength": "strong", "provenance": f"{page.package}/{page.name}", "reason": reason}


def _poor(page: Page, pages: list[Page], random: Random) -> tuple[str, str]:
    kind = random.randrange(4)
    if kind == 0:
        near = [random.choice(pages).title for _ in range(random.randrange(8, 30))]
        return "\n".join([*random.sample(MENU, 6), page.title, *near, *random.sample(FOOT, 5)]), "menus and footer"
    if kind == 1:
        names = [name for other in random.choices(pages, k=6) for name in other.names] + list(page.names)
        return "\n".join([page.title, *names[:60], page.package]), "list of names"
    if kind == 2:
        rows = [" | ".join(str(random.randrange(10**5)) for _ in range(6)) for _ in range(random.randrange(8, 40))]
        return "\n".join([f"Run {random.randrange(10**4)}", *rows]), "table of numbers"
    words = [word for block in page.blocks for word in block.text.split()]
    return " ".join(random.choices(words, k=random.randrange(60, 200))), "words without sentences"


def topics(pages: list[Page], seed: int, most: int) -> list[dict[str, Any]]:
    """At most `most` texts of each topic, from the packages in turn."""
    made: dict[str, dict[str, Any]] = {}
    have: dict[str, int] = {}
    for page in sorted(pages, key=lambda page: order(seed, "topics", page.package, page.name)):
        if page.kind == "licence":
            continue
        for text in _parts(page, "h p li")[:3]:
            if have.get(page.topic, 0) < most and text not in made:
                have[page.topic] = have.get(page.topic, 0) + 1
                made[text] = {"id": _id("topic", text), "text": text, "topic": page.topic, "topic_coarse": COARSE[page.topic], "source": page.package}
    return sorted(made.values(), key=lambda row: row["id"])
