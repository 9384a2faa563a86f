"""`dolma doctor`: what this machine has, what is missing, and how to get it. Nothing heavy is imported to find out."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for; `needed_by` says what does not work without it."""

    what: str
    found: str
    needed: str
    needed_by: str
    ok: bool
    required: bool
    mend: str = ""


# (distribution, least version, extra, what needs it); the test compares it with pyproject.toml
DOORS = (
    ("pyarrow", "20", "", "everything"),
    ("pydantic", "2.8", "", "everything"),
    ("pyyaml", "6", "", "everything"),
    ("duckdb", "1.3", "", "keep, set, dolma sql"),
    ("numpy", "2", "", "everything"),
    ("numba", "0.61", "", "measures, MinHash"),
    ("orjson", "3.10", "", "JSON Lines"),
    ("datatrove", "0.9", "web", "the datatrove engine"),
    ("fastwarc", "0.15", "web", "web archives"),
    ("resiliparse", "2", "web", "HTML"),
    ("trafilatura", "2", "web", "HTML, extractor trafilatura"),
    ("py3langid", "0.4", "web", "languages"),
    ("fsspec", "2024.6", "web", "raw files at a URL"),
    ("aiohttp", "3.9", "web", "raw files at a web address"),
    ("zstandard", "0.23", "web", "web archives in zstd"),
    ("pypdfium2", "4.30", "pdf", "PDF"),
    ("pymupdf", "1.25", "mupdf", "PDF, engine pymupdf (AGPL)"),
    ("fasttext-numpy2-wheel", "0.9.2", "models", "topic, quality"),
    ("tokenizers", "0.20", "models", "the tokenizer"),
    ("mosaicml-streaming", "0.13", "shards", "MosaicML shards"),
    ("pyspark", "4.1", "spark", "the Spark engine"),
    ("torch", "2.6", "train", "training"),
    ("mosaicml", "0.32", "train", "training"),
    ("transformers", "4.57", "train", "export"),
    ("safetensors", "0.4", "train", "checkpoints"),
)
OPTIONAL = ("trafilatura", "pymupdf", "pyspark")  # each has another choice in the recipes or envs
JAVA = 17  # Spark 4 needs it
DISK_GB, MEMORY_GB = 5, 4  # the demo with margin; memory for two workers and one training process


def findings(engine: str, root: Path, kit: Path | None) -> list[Finding]:
    """Everything that matters for runs with this engine, below this root.

    Args:
        engine: `datatrove` or `spark`; Java and PySpark are required for `spark` only.
        root: folder of the datasets, for the disk that it is on.
        kit: folder of the data kit, when one is named.
    """
    return [_python(), *(_package(*door, engine=engine) for door in DOORS), _java(engine), *_machine(root), _kit(kit)]


def _python() -> Finding:
    got = ".".join(str(part) for part in sys.version_info[:3])
    ok = (3, 11) <= sys.version_info[:2] <= (3, 12)
    return Finding("python", got, "3.11 or 3.12", "everything", ok, True, "make a virtual environment with Python 3.11 or 3.12")


def _package(name: str, least: str, extra: str, needed_by: str, *, engine: str) -> Finding:
    try:
        got = metadata.version(name)
    except metadata.PackageNotFoundError:
        got = ""
    mend = f"pip install 'dolma-flow[{extra}]'" if extra else f"pip install '{name}>={least}'"
    required = name not in OPTIONAL or (name == "pyspark" and engine == "spark")
    return Finding(name, got or "-", f">={least}", needed_by, bool(got) and version(got) >= version(least), required, mend)


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparing: '2.0.1+cpu' is (2, 0, 1)."""
    head = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in head.group().split(".")) if head else ()


def java() -> str:
    """The version of the Java that Spark would start, or an empty text."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not program:
        return ""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r'version "([\d._]+)', said.stderr + said.stdout)
    return match.group(1) if match else ""


def _java(engine: str) -> Finding:
    got = java()
    mend = f"apt-get install openjdk-{JAVA}-jre-headless, or set JAVA_HOME to a Java of {JAVA} or newer"
    return Finding("java", got or "-", f">={JAVA}", "the Spark engine", bool(got) and version(got) >= (JAVA,), engine == "spark", mend)


def _machine(root: Path) -> Iterator[Finding]:
    place = root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    yield Finding("disk", f"{free:.0f} GB free", f">={DISK_GB} GB", str(root), free >= DISK_GB, True, "free space, or set another `root` in the env")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    yield Finding("memory", f"{memory:.0f} GB", f">={MEMORY_GB} GB", "two workers", memory >= MEMORY_GB, False, "set `workers: 1` in the env")
    yield Finding("cores", str(os.cpu_count() or 1), ">=1", "workers", True, False)


def _kit(kit: Path | None) -> Finding:
    there = kit is not None and (kit / "MANIFEST.csv").is_file()
    return Finding("data kit", str(kit) if there else "-", "MANIFEST.csv", "the env kit", there, False, "set DOLMA_DATA to the folder of the data kit")
