"""What dedup costs as the documents grow: every phase from candidates to survivors at 1, 4 and 16 times the input, and the arithmetic for the web pool.

One unit of input is text of the data kit with an exact copy of every fifth and a near copy of another fifth (each 40th word changed). Each further unit
is the same text in another alphabet (letters and digits permuted): clusters have the same sizes in every unit and none reaches into another. CPU seconds
are those of the whole process less those of the same phase over twenty texts; one worker. `--write` puts all of it into `dolma/dedup/README.md`.
"""

import argparse
import json
import os
import random
import shutil
import string
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median

import pyarrow as pa

from benchmarks import corpus
from benchmarks.clock import Usage, usage
from dolma.console import size as human
from dolma.core import config, counts, manifest
from dolma.core.config import Env
from dolma.core.files import write_atomic
from dolma.core.graph import Graph
from dolma.core.log import logger, setup
from dolma.core.recipe import Compiled
from dolma.engines import sizes
from dolma.engines.plan import load_steps
from dolma.engines.units import build

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "dolma" / "dedup" / "README.md"
BEGIN, END = "<!-- written by `python -m benchmarks.dedup_scaling --write` -->\n", "<!-- end of what it wrote -->"
TARGET, INPUT = "pool/unique", "pool/candidates"
WHOLE = {"pool/ids", "pool/exact", TARGET}  # phases over all documents; the others have what exact dedup leaves, or a part of it
TIMES = (1, 4, 16)
UNIT = 38_000_000  # bytes of text of one unit, before its copies; the kit has 40
TYPES = {pa.string(): "string", pa.large_string(): "large_string", pa.int32(): "int32", pa.int64(): "int64", pa.float32(): "float32", pa.bool_(): "bool"}

DOCUMENTS = 38.7e9  # the web pool after its filters, and what exact dedup leaves: spec/01 s.4
DISTINCT = 12.8e9
GROUPS = 32  # of shards, over which the published MinHash runs one by one
TEXT = 4_300  # bytes of a document there: 36.5 TB after substrings took 14 %, of 9.8B documents: spec/01 s.4
SHARD = 256e6  # bytes of Parquet of a shard there
PART = 0.28e-3  # CPU seconds to read one (file, bucket) of a shuffle: design/engines.md s.3
log = logger("dolma.benchmarks.dedup_scaling")


@dataclass(frozen=True)
class Row:
    """One phase over one input. `worked` is the rows that reach its step (documents, or edges), `cpu` seconds less start-up, `shuffle` bytes in Arrow
    of all rows scattered, `spill` bytes as `dolma plan` says, `peak` bytes of the process, `grown` those more than over twenty texts."""

    phase: str
    times: int
    documents: int
    worked: int
    rows: int
    cpu: float
    shuffle: int
    spill: int
    peak: int
    grown: int
    reads_text: bool
    shuffles_text: bool

    @property
    def micro(self) -> float:
        """CPU microseconds a row that is worked on; where none is, a document that is read and dropped."""
        return 1e6 * self.cpu / (self.worked or self.documents)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write them with `--write`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dedup_scaling", description=__doc__)
    parser.add_argument("--times", type=int, nargs="+", default=list(TIMES), help="sizes of the input, in units")
    parser.add_argument("--unit", type=int, default=UNIT, help="bytes of text of a unit (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each, whose medians count (default: 3)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "dedup_scaling.json")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    setup()
    load_steps()
    rows, mean = measure(sorted(options.times), options.unit, options.runs, ROOT / "build" / "bench" / "dedup_scaling")
    text = "\n\n".join([table(rows, mean), arithmetic(rows, mean)])
    print(text)
    if options.write:
        write_atomic(options.out, json.dumps({"text_bytes": round(mean, 1), "rows": [asdict(row) for row in rows]}, indent=1).encode() + b"\n")
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        write_atomic(PAGE, f"{before}{BEGIN}{text}\n{END}{rest.split(END)[1]}".encode())
    return 0


def measure(times: Sequence[int], unit: int, runs: int, work: Path) -> tuple[list[Row], float]:
    """One row a phase and size, and the mean bytes of a text."""
    shutil.rmtree(work, ignore_errors=True)
    pipelines = recipes(work)
    size = {0: write(work / "raw-0", 1, 0), **{number: write(work / f"raw-{number}", number, unit) for number in times}}
    seen: dict[tuple[int, str], list[Usage]] = {}
    _run(work, pipelines, 0)  # compiled code and files are warm
    for turn in range(runs):
        for number in size:
            for phase, used in _run(work, pipelines, number).items():
                seen.setdefault((number, phase), []).append(used)
                log.info("  %dx, %s, %d/%d: %.2f CPU s, %.0f MB", number, phase, turn + 1, runs, used.cpu, used.peak / 1e6)
    rows = []
    for (number, phase), used in seen.items():
        if number:
            cpu = median(one.cpu for one in used) - median(one.cpu for one in seen[0, phase])
            peak = max(one.peak for one in used)
            memory = peak, max(0, peak - max(one.peak for one in seen[0, phase]))
            rows.append(described(work, pipelines, number, phase, round(max(cpu, 0), 3), memory))
    largest = times[-1]
    return sorted(rows, key=lambda row: [phase for _, phase in seen].index(row.phase)), size[largest][1] / size[largest][0]


def recipes(work: Path) -> Path:
    """The pool's own recipes up to the target, over documents that are read as they are instead of those of the sources."""
    graph = Graph(ROOT / "pipelines")
    target = work / "pipelines"
    for name in graph.order([TARGET]):
        if name.startswith("pool/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(graph.files[name], target / f"{name}.yaml")
    node = graph[INPUT]
    assert isinstance(node, Compiled)
    read = {field.name: TYPES[field.type] for field in node.schema if field.name not in ("file", "offset")}
    steps = [{"select": {"columns": node.schema.names}}]
    recipe = {"read": {"jsonl": {"files": "*.jsonl", "columns": read}}, "table": "document", "steps": steps}
    (target / f"{INPUT}.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    return target


def write(folder: Path, times: int, unit: int) -> tuple[int, int]:
    """`times` units of about `unit` bytes, each in a file of its own (twenty texts for 0); how many texts, and their bytes."""
    texts = work_texts(folder, unit)
    texts = texts if unit else texts[:20]
    count = size = 0
    for turn in range(times):
        with open(folder / f"{turn:03d}.jsonl", "w", encoding="utf-8") as out:
            for name, text in copies(texts, turn):
                key = int.from_bytes(sha256(name.encode()).digest()[:8], "big") >> 1
                line = {"id": name, "key": key, "source": "web", "url": f"https://example.org/{name}", "text": text, "lang": "en", "lang_score": 1.0}
                line["date"] = f"2024-{1 + count % 12:02d}-01"
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
                count, size = count + 1, size + len(text.encode())
    return count, size


def work_texts(folder: Path, unit: int) -> list[str]:
    """The texts of one unit."""
    folder.mkdir(parents=True)
    corpus.write(folder, max(unit, 200_000))
    with open(folder / "texts" / "texts.jsonl", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    shutil.rmtree(folder / "texts")
    return texts


def copies(texts: Sequence[str], turn: int) -> Iterator[tuple[str, str]]:
    """(id, text) of one unit in the alphabet of its number, with its exact and near copies."""
    order = random.Random(turn)
    small, digits = list(string.ascii_lowercase), list(string.digits)
    if turn:
        order.shuffle(small)
        order.shuffle(digits)
    other = "".join(small)
    alphabet = str.maketrans(string.ascii_letters + string.digits, other + other.upper() + "".join(digits))
    for number, text in enumerate(texts):
        moved = text.translate(alphabet)
        yield f"{turn}-{number}", moved
        if number % 5 == 0:
            yield f"{turn}-{number}-exact", moved
        elif number % 5 == 1:
            words = moved.split(" ")
            words[39::40] = [f"zq{place}" for place in range(len(words[39::40]))]
            yield f"{turn}-{number}-near", " ".join(words)


def _phases(pipelines: Path) -> list[str]:
    return [name for name in Graph(pipelines).order([TARGET]) if name != INPUT]


def _run(work: Path, pipelines: Path, number: int) -> dict[str, Usage]:
    """What each phase uses over an input, one `dolma run` each in an empty root."""
    root = work / f"root-{number}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    env = work / f"env-{number}.yaml"
    env.write_text(json.dumps({"root": str(root), "raw": str(work / f"raw-{number}"), "workers": 1}))
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    found = {}
    for name in (INPUT, *_phases(pipelines)):
        command = [sys.executable, "-m", "dolma.cli", "run", name, "--env", str(env), "--pipelines", str(pipelines)]
        found[name] = usage(command, where=name, log=work / "log", env={**os.environ, **one, "PYTHONPATH": str(ROOT)}, cwd=ROOT, limit=3600)
    return {name: used for name, used in found.items() if name != INPUT}


def described(work: Path, pipelines: Path, number: int, phase: str, cpu: float, memory: tuple[int, int]) -> Row:
    """The row of a phase that has run: rows from its ledger, bytes from the sizes of its passes."""
    root, graph = work / f"root-{number}", Graph(pipelines)
    env = config.read_yaml(work / f"env-{number}.yaml", Env)
    made, node = manifest.load(root / phase), graph[phase]
    assert isinstance(node, Compiled)
    said = sizes.Sizing(graph, env, root).of(phase, build(node, graph, env, root, work / f"raw-{number}"))
    steps = counts.steps(made.counts)
    last = steps.get(node.final.label, {}) if node.final else next(iter(steps.values()))
    scattered = last.get("scattered", 0)
    shuffle = said.shuffle or 0 if said else 0
    if said and said.rows and node.final and node.final.step.kind == "group":
        shuffle = round(shuffle * scattered / said.rows)
    documents = manifest.load(root / INPUT).rows
    given = sizes.declare(node, sizes.Extent(1000, 10**9, 10**9, 1, 1000))
    reads = "text" in node.source.names
    worked = last.get("rows_in", last.get("in", documents))
    spill = said.spill or 0 if said else 0
    return Row(phase, number, documents, worked, made.rows, cpu, shuffle, spill, *memory, reads, given is not None and given.text > 0 and scattered > 0)


def table(rows: Sequence[Row], mean: float) -> str:
    """What was measured, a line a phase and size; the last column is the CPU time of a row over that of the smallest input."""
    lines = [
        f"Texts of {mean:,.0f} bytes on average, one worker. CPU time is that of the process less start-up; it is linear where the last column is 1 "
        "(of times under .1 s the noise of start-up is a good part).\n",
        "| phase | documents | rows worked on | CPU s | µs a row | shuffle | B a row | spill | MB peak | more: B a row | time to the smallest |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        first = next(one for one in rows if one.phase == row.phase)
        level = f"{row.micro / first.micro:.2f}" if first.micro else ""
        shuffle = f"{human(row.shuffle)} | {row.shuffle / max(row.worked, 1):.0f}" if row.shuffle else "|"
        memory = f"{row.peak / 1e6:,.0f} | " + (f"{row.grown / row.worked:,.0f}" if row.worked else "")
        spill = human(row.spill) if row.spill else ""
        lines.append(f"| {row.phase} | {row.documents:,} | {row.worked:,} | {row.cpu:.2f} | {row.micro:.1f} | {shuffle} | {spill} | {memory} | {level} |")
    return "\n".join(lines)


def arithmetic(rows: Sequence[Row], mean: float) -> str:
    """Core-hours, shuffle and spill of each phase at the size of the web pool, from the largest input, with every factor."""
    last = [row for row in rows if row.times == max(one.times for one in rows)]
    hashed = next(row.worked for row in last if row.phase == "pool/edges")
    factor = TEXT / mean
    head = [
        f"{DOCUMENTS / 1e9:.1f}B documents of {TEXT:,} bytes; exact dedup leaves {DISTINCT / 1e9:.1f}B. Rows: all documents before that and at the end,",
        f"else (rows worked on here / documents hashed here, {hashed:,}) x {DISTINCT / 1e9:.1f}B.",
        "Phases with tags read all documents and drop most: verified and near have that in their time by the share of duplicates here,",
        "strict (no component of 500 here) is nothing else.",
        f"Where texts are read, time x {TEXT:,} / {mean:,.0f} = {factor:.2f}; where they are shuffled, bytes too.\n",
        "| phase | rows | CPU: rows x µs x text / 3.6e9 | shuffle: rows x B x text |",
        "|---|---:|---|---|",
    ]
    hours = shuffled = 0.0
    for row in last:
        many = DOCUMENTS if row.phase in WHOLE or not row.worked else row.worked / hashed * DISTINCT
        slower, longer = factor if row.reads_text else 1.0, factor if row.shuffles_text else 1.0
        spent = many * row.micro * slower / 3.6e9
        bytes_each = row.shuffle / max(row.worked, 1)
        sent = many * bytes_each * longer
        hours, shuffled = hours + spent, shuffled + sent
        cost = f"{many / 1e9:.2f}e9 x {row.micro:.1f} x {slower:.2f} / 3.6e9 = {spent:,.0f} h"
        head.append(f"| {row.phase} | {many / 1e9:.2f}B | {cost} | {many / 1e9:.2f}e9 x {bytes_each:.0f} x {longer:.2f} = {human(sent)} |")
    head.append(f"| all | | {hours:,.0f} core-hours | {human(shuffled)} |\n")
    return "\n".join([*head, *limits(last, hashed)])


def limits(last: Sequence[Row], hashed: int) -> list[str]:
    """What does not grow with the rows alone."""
    group = DISTINCT / GROUPS
    edges = next(row for row in last if row.phase == "pool/edges")
    sent = group * edges.shuffle / max(edges.worked, 1)
    buckets, files = sent / sizes.SORT, group * TEXT / sizes.INFLATION / SHARD
    parts = buckets * files * PART / 3600
    clusters = next(row for row in last if row.phase in ("pool/components", "pool/clusters"))
    linked = clusters.rows / max(hashed, 1)
    memory = group * linked * 96
    whole = GROUPS**2 * parts
    width = edges.shuffle / max(edges.worked, 1)
    return [
        f"- **Sort**, n log n: a bucket of at most {human(sizes.SORT)} is sorted in memory, so a row costs the same at any size and nothing spills.",
        f"  MinHash of one of {GROUPS} groups: {group / 1e6:,.0f}M x {width:.0f} B = {human(sent)}: `buckets: {buckets:,.0f}`. With fewer, each worker",
        f"  spills its bucket: 100 buckets on 64 workers {human(64 * sent / 100)}.",
        f"- **Parts**, n squared: files x buckets x {PART * 1e3:.2f} ms. A group: {files:,.0f} x {buckets:,.0f} = {parts:.2g} h, all: {GROUPS * parts:.2g} h;",
        f"  in one piece it would be {whole:,.0f} h: take groups, or engine spark, whose shuffle merges parts.",
        f"- **Components**, memory: {linked:.2f} of the documents have an edge x {group / 1e6:,.0f}M x 96 B = {human(memory)} of one process a group. On Spark",
        "  the edges stay distributed: a shuffle of them a round, about log2 of the longest chain in rounds.",
        "- **Clusters**, quadratic in their size: all pairs of at most 499 documents, 249 a document; larger ones go through stricter bands.",
    ]


if __name__ == "__main__":
    sys.exit(main())
