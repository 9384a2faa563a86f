"""A corpus, a later delivery, and the recipes that pipelines/README.md gives for it."""

import gzip
import json
import re
from pathlib import Path

import yaml

from tests.flow.mini import PIPELINES

SOURCE = {
    "read": {"jsonl": {"files": "", "columns": {"id": "string", "text": "large_string"}}},
    "table": "document",
    "steps": [{"extract_text": {"source": "test"}}],
}
FLOW = {  # the ordinary deduplication of NAME/candidates
    "exact": {"input": "NAME/candidates", "table": "tag", "steps": [{"mark_exact": {}}]},
    "edges": {"input": "NAME/candidates", "table": "edge", "steps": [{"mark_minhash": {}}]},
    "clusters": {"input": "NAME/edges", "table": "tag", "steps": [{"cluster_edges": {}}]},
}


def written() -> dict[str, str]:
    """The YAML of each recipe that the README gives for a later delivery, by its name."""
    text = (PIPELINES / "README.md").read_text().split("## A later delivery", 1)[1].split("\n## ", 1)[0]
    return {match[1]: match[0] for match in re.finditer(r"# pipelines/(\S+)\.yaml\n.*?(?=```)", text, re.DOTALL)}


def write_recipes(folder: Path, *dedup: str) -> Path:
    """The README's recipes below `folder`/pipelines, candidates of pool/, increment/ and both/, and the flow for the names in `dedup`."""
    recipes = written()
    for name, files in {"pool": "old/*.gz", "increment": "new/*.gz", "both": "*/*.gz"}.items():
        value = {**SOURCE, "read": {"jsonl": {**SOURCE["read"]["jsonl"], "files": files}}}
        recipes[f"{name}/candidates"] = yaml.safe_dump(value)
    for name in ("pool/bands", "increment/bands", "increment/shared", "increment/matches"):
        recipes[name] += "buckets: 3\n"  # a corpus of this size would have one
    for name in dedup:
        recipes |= {f"{name}/{part}": yaml.safe_dump(value).replace("NAME", name) for part, value in FLOW.items()}
    for name, text in recipes.items():
        path = folder / "pipelines" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "pipelines"


def write_files(folder: Path, documents: dict[str, str], files: int) -> None:
    """Documents in `files` gzipped JSONL files, one after the other in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(documents.items())
    for part in range(files):
        lines = "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in rows[part::files])
        with open(folder / f"part-{part}.jsonl.gz", "wb") as out, gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
            file.write(lines.encode())
