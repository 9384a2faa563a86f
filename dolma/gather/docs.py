"""Documentation that is on the machine already: docstrings and descriptions of the standard library and of the installed packages.

Sources are parsed, never imported. What is chosen depends on the files and a seed only.
"""

import ast
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import HeaderParser
from hashlib import sha256
from pathlib import Path

from dolma.gather.markup import Block, blocks
from dolma.gather.topics import of_module, of_package

SKIP = frozenset({"tests", "test", "testing", "_tests", "idlelib", "lib2to3", "_vendor", "vendor", "vendored", "third_party", "benchmarks"})
FILE_BYTES = 800_000  # larger files are tables and generated code
LEAST_DOC = 60  # characters; shorter docstrings repeat the name
PAGE_CHARS = 5_000  # a longer module is spread over several pages
LEAST_PAGE = 400


@dataclass(frozen=True)
class Page:
    """One page of documentation before it has a layout."""

    package: str
    version: str
    name: str
    title: str
    topic: str
    kind: str  # module, readme, licence, reference
    blocks: tuple[Block, ...]
    names: tuple[str, ...] = field(default=(), compare=False)  # what it documents, for navigation

    @property
    def chars(self) -> int:
        """Characters of all blocks."""
        return sum(len(block.text) for block in self.blocks)

    def repeated(self) -> float:
        """Share of its words that belong to a run of five words which the page has more than once."""
        words = " ".join(block.text for block in self.blocks).split()
        places: dict[tuple[str, ...], list[int]] = {}
        for place, run in enumerate(zip(*(words[start:] for start in range(5)), strict=False)):
            places.setdefault(run, []).append(place)
        inside = {place + step for found in places.values() if len(found) > 1 for place in found for step in range(5)}
        return len(inside) / len(words) if words else 0.0


@dataclass(frozen=True)
class Package:
    """An installed distribution, or the standard library."""

    name: str
    version: str
    licence: str
    topic: str
    root: Path
    files: tuple[str, ...]
    description: str = ""
    licences: tuple[str, ...] = ()


def order(seed: int, *parts: object) -> str:
    """A sort key that looks random and depends on the seed and the names only."""
    return sha256("\0".join(map(str, (seed, *parts))).encode()).hexdigest()


def packages() -> list[Package]:
    """The standard library as `python`, and what `*.dist-info` names in this environment, sorted by name."""
    paths = sysconfig.get_paths()
    stdlib = Path(paths["stdlib"])
    found = {"python": Package("python", ".".join(map(str, sys.version_info[:3])), "PSF-2.0", "language", stdlib, _walk(stdlib))}
    for site in sorted({Path(paths["purelib"]), Path(paths["platlib"])}):
        for info in sorted(site.glob("*.dist-info")):
            made = _package(site, info)
            if made and made.name not in found:
                found[made.name] = made
    return [found[name] for name in sorted(found)]


def _package(site: Path, info: Path) -> Package | None:
    try:
        raw = (info / "METADATA").read_text("utf-8", errors="replace")
    except OSError:  # a distribution that was removed by halves
        return None
    meta = HeaderParser().parsestr(raw)
    name = str(meta["Name"] or "").lower()
    record = info / "RECORD"
    rows = record.read_text("utf-8", errors="replace").splitlines() if record.is_file() else []
    names = sorted({row.split(",")[0] for row in rows if not row.startswith((".", "/", info.name))})
    names = [name for name in names if "/" in name and not name.endswith(".pyc")]
    licences = sorted(p for p in info.rglob("*") if p.is_file() and p.name.upper().startswith(("LICEN", "COPYING", "NOTICE")))
    classified = [c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or [] if c.startswith("License ::")]
    licence = meta["License-Expression"] or (classified[0] if classified else "") or (str(meta["License"] or "").split("\n")[0][:60]) or "unknown"
    texts = tuple(p.read_text("utf-8", errors="replace") for p in licences[:2] if p.stat().st_size < 60_000)
    description = meta.get_payload()
    return Package(
        name,
        str(meta["Version"]),
        str(licence),
        of_package(names[0].split("/")[0] if names else name, raw),
        site,
        tuple(names),
        description if isinstance(description, str) else "",
        texts,
    )


def files(package: Package, suffixes: tuple[str, ...], skip: frozenset[str] = SKIP) -> list[tuple[Path, str]]:
    """Files of a package with their path below its root, sorted."""
    return [(package.root / name, name) for name in package.files if name.endswith(suffixes) and skip.isdisjoint(name.split("/")[:-1])]


def _walk(root: Path) -> tuple[str, ...]:
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in ("site-packages", "__pycache__"))
        found += [str(Path(folder, name).relative_to(root)) for name in names]
    return tuple(sorted(found))


def pages(package: Package, seed: int, budget: int) -> list[Page]:
    """All pages of a package: its modules as far as `budget` bytes of sources go, its description, its licences."""
    made = _described(package)
    for path, name in sorted(files(package, (".py",)), key=lambda item: order(seed, package.name, item[1])):
        size = path.stat().st_size
        if not LEAST_PAGE < size < FILE_BYTES:
            continue
        if budget >= size:
            budget -= size
            made += _module(package, name, path.read_text("utf-8", errors="replace"))
    return made


def _described(package: Package) -> list[Page]:
    made = []
    for kind, texts in (("readme", (package.description,)), ("licence", package.licences)):
        for number, text in enumerate(texts):
            found = blocks(text)[:150]
            title = f"{package.name} {package.version}" if kind == "readme" else f"Licence of {package.name}"
            page = Page(package.name, package.version, f"{kind}{number or ''}", title, package.topic, kind, tuple(found))
            if page.chars >= LEAST_PAGE:
                made.append(page)
    return made


def _module(package: Package, name: str, text: str) -> list[Page]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):  # templates and test data with the suffix of a source
        return []
    module = name.removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")
    if module.startswith("pydoc_data."):
        return _reference(package, tree)
    topic = of_module(package.name, module) if package.name == "python" else package.topic
    parts: list[tuple[str, list[Block]]] = [("", blocks(ast.get_docstring(tree) or ""))]
    parts += [(label, [Block("h", label), *found]) for label, found in _definitions(tree.body, "")]
    made: list[Page] = []
    current: list[Block] = []
    names: list[str] = []
    for label, found in [*parts, ("", [Block("h", "")])]:
        full = sum(len(block.text) for block in current) + sum(len(block.text) for block in found) > PAGE_CHARS
        if current and (full or (found and not found[0].text)):
            number = len(made) + 1
            name, title = (module, f"{module} module") if number == 1 else (f"{module}-{number}", f"{module} module, part {number}")
            made.append(Page(package.name, package.version, name, title, topic, "module", tuple(current), tuple(names)))
            current, names = [], []
        seen = set(current)  # methods repeat the parameters of each other; on one page, once is enough
        current += [block for block in found if block not in seen]
        names += [label] if label else []
    return [page for page in made if page.chars >= LEAST_PAGE]


def _definitions(body: list[ast.stmt], inside: str) -> Iterator[tuple[str, list[Block]]]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            doc = ast.get_docstring(node)
            if doc and len(doc) >= LEAST_DOC:
                label = f"class {node.name}" if isinstance(node, ast.ClassDef) else f"{inside}{node.name}({ast.unparse(node.args)[:160]})"
                yield label, blocks(doc)
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, f"{node.name}.")


def _reference(package: Package, tree: ast.Module) -> list[Page]:
    """Chapters of the language reference that Python carries for its interactive help."""
    made = []
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if not isinstance(value, ast.Dict):
            continue
        for key, text in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                found = blocks(text.value)
                title = next((block.text for block in found if block.kind == "h"), str(key.value))
                page = Page(package.name, package.version, f"reference.{key.value}", title, "language", "reference", tuple(found))
                if page.chars >= LEAST_PAGE:
                    made.append(page)
    return made
