"""A crawl of documentation that is on this machine, with the duplicates, menus and rubbish that crawls have."""

from dataclasses import replace
from pathlib import Path
from random import Random

from dolma.core.files import write_atomic
from dolma.gather.docs import Page, order
from dolma.gather.markup import Block
from dolma.gather.site import Link, index_html, message_html, page_html, table_html
from dolma.gather.warc import Capture, info, response

FILES = 8
# Shares of the pages that are captured again. In the crawl behind Olmo 3 two thirds of the documents were exact duplicates and 23 % of the rest
# near ones; fewer here, so that a small corpus keeps its text.
EXACT, NEAR, AGAIN = 0.05, 0.06, 0.03
FOREIGN = 40  # pages in German, French and Spanish

SENTENCES = {
    "de": [
        "Diese Seite beschreibt, wie die Bibliothek installiert und eingerichtet wird.",
        "Der Benutzer kann die Einstellungen in einer Datei ändern.",
        "Wenn ein Fehler auftritt, wird eine Meldung mit der genauen Stelle ausgegeben.",
        "Die Funktion liefert eine Liste aller gefundenen Einträge zurück.",
        "Ältere Versionen werden nicht mehr unterstützt und sollten ersetzt werden.",
        "Beachten Sie bitte, dass große Dateien viel Speicher benötigen.",
        "Weitere Beispiele finden sich im Handbuch und in den Anmerkungen zur Veröffentlichung.",
        "Die Reihenfolge der Schlüssel bleibt dabei immer erhalten.",
    ],
    "fr": [
        "Cette page explique comment installer et configurer la bibliothèque.",
        "L'utilisateur peut modifier les réglages dans un fichier.",
        "En cas d'erreur, un message indique précisément l'endroit concerné.",
        "La fonction renvoie la liste de tous les éléments trouvés.",
        "Les anciennes versions ne sont plus prises en charge et doivent être remplacées.",
        "Veuillez noter que les gros fichiers demandent beaucoup de mémoire.",
        "D'autres exemples se trouvent dans le manuel et dans les notes de publication.",
        "L'ordre des clés est toujours conservé pendant cette opération.",
    ],
    "es": [
        "Esta página explica cómo instalar y configurar la biblioteca.",
        "El usuario puede cambiar los ajustes en un archivo.",
        "Si ocurre un error, se muestra un mensaje con el lugar exacto.",
        "La función devuelve una lista de todos los elementos encontrados.",
        "Las versiones antiguas ya no tienen soporte y deben sustituirse.",
        "Tenga en cuenta que los archivos grandes necesitan mucha memoria.",
        "Hay más ejemplos en el manual y en las notas de la versión.",
        "El orden de las claves se conserva siempre durante esta operación.",
    ],
}


def address(page: Page, version: str | None = None) -> str:
    """Where a page is published, under names that are reserved for examples."""
    name = page.name.replace(".", "/")
    version = version or page.version
    if page.kind in ("readme", "licence"):
        return f"https://packages.example.org/project/{page.package}/{version}/{name}"
    if page.package == "python":
        return f"https://docs.example.org/{version}/{name}.html"
    return f"https://{page.package.replace('_', '-').replace('.', '-')}.example.net/en/{version}/{name}.html"


def edited(page: Page, random: Random) -> Page:
    """A later version of a page: a few words, one paragraph more or less, another version number."""
    made = list(page.blocks)
    if len(made) > 6:
        del made[random.randrange(2, len(made))]
    at = random.randrange(len(made) + 1)
    made.insert(at, Block("p", f"Changed in version {random.randrange(2, 9)}.{random.randrange(20)}: see the release notes for what is different here."))
    return replace(page, version=_later(page.version), blocks=tuple(made))


def _later(version: str) -> str:
    head, _, tail = version.rpartition(".")
    return f"{head}.{int(tail) + 1}" if head and tail.isdigit() else f"{version}.post1"


def captures(pages: list[Page], seed: int) -> list[Capture]:
    """All captures of the crawl, in the order in which they are written."""
    random = Random(f"web {seed}")
    made: list[Capture] = []
    groups: dict[str, list[Page]] = {}
    for page in pages:
        groups.setdefault(page.package, []).append(page)
    for package, group in groups.items():
        made += _site(package, group, random, seed)
    made += _rubbish(random)
    made += _foreign(random)
    return sorted(made, key=lambda capture: order(seed, capture.url, capture.turn))


def _site(package: str, group: list[Page], random: Random, seed: int) -> list[Capture]:
    """The pages of one package, their duplicates, and the index pages."""
    layout = int(order(seed, package)[:4], 16) % 3
    items: list[Link] = [(address(page), page.title) for page in group]
    made: list[Capture] = []
    for number, page in enumerate(group):
        near = items[max(0, number - 8) : number + 8]
        latin = random.random() < 0.03
        charset = "iso-8859-1" if latin else "utf-8"
        style = 3 if page.kind == "readme" else 2 if page.kind == "licence" else layout
        body = page_html(page, style, near, charset).encode(charset, "xmlcharrefreplace")
        made.append(Capture(address(page), body, content_type=f"text/html; charset={charset}"))
        draw = random.random()
        if draw < EXACT:
            made.append(replace(made[-1], url=address(page).replace("https://", "https://mirror.")))
        elif draw < EXACT + NEAR:
            later = edited(page, random)
            made.append(Capture(address(page, later.version), page_html(later, style + (random.random() < 0.5), near).encode()))
        elif draw < EXACT + NEAR + AGAIN:
            made.append(replace(made[-1], turn=1))
    for start in range(0, len(items), 60):
        part = items[start : start + 60]
        made.append(Capture(f"https://docs.example.org/index/{package}/{start // 60}.html", index_html(f"{package}: all pages", part).encode()))
    return made


def _rubbish(random: Random) -> list[Capture]:
    """Errors, redirects, empty pages, tables of numbers and answers that are not HTML."""
    made = []
    for number in range(30):
        words = message_html("Page not found", "The page that you are looking for does not exist or was moved. Try the search.")
        made.append(Capture(f"https://docs.example.org/old/{number}.html", words.encode(), status=[404, 404, 410, 500, 503, 200][number % 6]))
        target = f"https://docs.example.org/new/{number}.html"
        moved = f'<html><body><a href="{target}">Moved</a></body></html>'
        made.append(Capture(f"https://docs.example.org/moved/{number}.html", moved.encode(), status=[301, 302][number % 2], location=target))
    for number in range(20):
        body = [b"", b"<html><head></head><body></body></html>", b"   \n", message_html("Search", "0 results").encode()][number % 4]
        made.append(Capture(f"https://docs.example.org/search?q={number}", body))
    for number in range(40):
        scale = 10 ** random.randrange(1, 7)
        rows = [[row, *(random.randrange(scale) for _ in range(4)), round(random.random(), 4)] for row in range(random.randrange(30, 150))]
        page = table_html(f"Run {number}", ["n", "min", "max", "mean", "last", "share"], rows)
        made.append(Capture(f"https://bench.example.org/run/{number}.html", page.encode()))
    for number in range(5):
        values = ",".join(str(random.randrange(1000)) for _ in range(300))
        made.append(Capture(f"https://api.example.org/v1/items/{number}", f'{{"items": [{values}]}}'.encode(), content_type="application/json"))
        made.append(Capture(f"https://docs.example.org/logo/{number}.png", b"\x89PNG\r\n\x1a\n" + random.randbytes(400), content_type="image/png"))
        made.append(Capture(f"https://docs.example.org/robots/{number}.txt", b"User-agent: *\nDisallow: /private/\n", content_type="text/plain"))
    return made


def _foreign(random: Random) -> list[Capture]:
    made = []
    for number in range(FOREIGN):
        lang = ("de", "fr", "es")[number % 3]
        words = random.sample(SENTENCES[lang], len(SENTENCES[lang]))
        found = [Block("p", " ".join(words[start : start + 3])) for start in range(0, len(words), 3)]
        page = Page("handbook", "1.0", f"page{number}", f"Handbook {number}", "text", "module", tuple(found))
        made.append(Capture(f"https://handbook.example.org/{lang}/{number}.html", page_html(page, number, []).encode()))
    return made


def write(pages: list[Page], folder: Path, seed: int) -> int:
    """Write `crawl-A-0000N.warc.gz` and give the number of captures."""
    made = captures(pages, seed)
    size = -(-len(made) // FILES)
    for number in range(FILES):
        name = f"crawl-A-{number:05d}.warc.gz"
        records = [response(capture, seed) for capture in made[number * size : (number + 1) * size]]
        write_atomic(folder / name, b"".join([info(name), *records]))
    return len(made)
