"""Repeated paragraphs: our marks by exact hashes against the Bloom filter of the Dolma toolkit."""

import json
from pathlib import Path

from benchmarks import corpus
from benchmarks.pair import Pair
from benchmarks.peers import DOLMA

PART = 32_000_000  # bytes of a file of JSON lines: a corpus comes in files
NAME = "repeated"  # of the toolkit's attribute
RECIPES = {
    "texts": "read: {jsonl: {files: documents/*.jsonl, columns: {id: string, text: large_string}, required: [id, text]}}\ntable: rows\n"
    'steps: [{set: {columns: {key: "(hash(id) >> 1)::BIGINT"}}}, {select: {columns: [id, key, text]}}]',
    "spans": "input: texts\ntable: span\nsteps: [{mark_paragraphs: {unit: line, least: 1}}]",
    "marks": "input: spans\ntable: tag\nsteps: [{join_spans: {}}]",
}


def prepare(folder: Path, size: int) -> str:
    """The texts as files of JSON lines below `documents`, the toolkit's layout, and as the dataset `texts` below `made` for ours.

    Where they come again, their lines begin with the number of the turn: a turn repeats what the texts themselves repeat, and not the turn before it.
    """
    described = corpus.write(folder, size)
    (folder / "documents").mkdir()
    with (folder / "texts" / "texts.jsonl").open("rb") as lines:
        number = 0
        while part := lines.readlines(PART):
            (folder / "documents" / f"{number:05d}.jsonl").write_text("".join(map(_turned, part)), encoding="utf-8")
            number += 1
    (folder / "texts" / "texts.jsonl").unlink()
    (folder / "recipes").mkdir()
    for name, text in RECIPES.items():
        (folder / "recipes" / f"{name}.yaml").write_text(text + "\n")
    _run(folder, folder / "made", "texts")
    return described


def _turned(line: bytes) -> str:
    row = json.loads(line)
    turn = row["id"].rpartition("-")[2]
    if turn != "0":
        row["text"] = "\n".join(f"{turn} {one}" if one.strip() else one for one in row["text"].split("\n"))
    return json.dumps(row, ensure_ascii=False) + "\n"


def _run(inputs: Path, root: Path, target: str) -> None:
    from dolma.runner import run

    root.mkdir(exist_ok=True)
    env = root / "env.yaml"
    env.write_text(json.dumps({"root": str(root), "raw": str(inputs), "engine": "datatrove", "workers": 1}))  # JSON is YAML
    run([target], env, pipelines=inputs / "recipes")


def ours(inputs: Path, out: Path) -> None:
    """`dolma run marks` over a finished dataset of texts: a row a text with the spans to cut; hashes and ledgers of a run included."""
    (out / "texts").symlink_to(inputs / "made" / "texts")
    _run(inputs, out, "marks")


# The toolkit writes attributes beside a folder called `documents`. -I: its package is called `dolma` like ours, which PYTHONPATH would put in its place.
THEIRS = (
    "ln -s {inputs}/documents {out}/documents && exec {python} -I -m dolma.cli dedupe --documents '{out}/documents/*.jsonl' "
    f"--dedupe.name {NAME} --dedupe.paragraphs.attribute_name {NAME} --dedupe.skip_empty --bloom_filter.file {{out}}/bloom.bin "
    "--no-bloom_filter.read_only --bloom_filter.estimated_doc_count 10000000 --bloom_filter.desired_false_positive_rate 0.000001 --processes 1"
)


def agree(inputs: Path, ours: Path, theirs: Path) -> str:
    """How many characters both mark. Which copy of a paragraph stays is each tool's choice, so their number is compared, not their places."""
    from dolma.core import manifest

    rows = manifest.load(ours / "spans").rows
    chars = sum(manifest.read(ours / "marks", ["spans_chars"])["spans_chars"].to_pylist())
    spans = count = texts = 0
    for path in sorted((theirs / "attributes" / NAME).iterdir()):
        for line in path.open(encoding="utf-8"):
            marked = json.loads(line)["attributes"].get(NAME, [])
            texts, count, spans = texts + 1, count + len(marked), spans + sum(end - start for start, end, _ in marked)
    return f"Of {texts:,} texts ours marks {rows:,} paragraphs with {chars / 1e6:.2f} M characters, theirs {count:,} with {spans / 1e6:.2f} M."


PAIR = Pair(
    name="paragraphs/dolma",
    peer=DOLMA,
    ours=ours,
    theirs=("sh", "-c", THEIRS),
    prepare=prepare,
    agree=agree,
    size=260_000_000,
    memory=True,
    note="Every line that stood before, without blank ones, one worker. Ours: mark_paragraphs and join_spans as recipes on the embedded engine, Parquet to "
    "Parquet, with the hashes and ledgers of a run; marks are exact (128-bit hashes), the copy that stays is that of the smallest key, whatever the order "
    "of the files, and the memory does not grow with the corpus. Theirs: `dolma dedupe` with paragraphs and skip_empty, a Bloom filter for 10 million "
    "paragraphs at a false-positive rate of 1e-6, which is held in memory and sees the files in their order, JSON lines to JSON lines of attributes, no "
    "compression, one process, in an environment of its own.",
)
