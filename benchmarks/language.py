"""`language/py3langid`: the languages of texts, with the same model on both sides."""

import json
from pathlib import Path

from benchmarks.heuristics_datatrove import prepare
from benchmarks.pair import Pair, Peer


def ours(inputs: Path, out: Path) -> None:
    """The language of every text, as columns."""
    import pyarrow.parquet as pq

    from dolma.tag.language import tag_language

    with (out / "languages.jsonl").open("w") as file:
        for batch in pq.ParquetFile(inputs / "texts.parquet").iter_batches(batch_size=1024):
            made = tag_language(batch)
            file.writelines(json.dumps(row) + "\n" for row in made.column("lang").to_pylist())


def theirs(inputs: Path, out: Path) -> None:
    """The same with the package's own `classify`, text by text."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    with (inputs / "texts" / "texts.jsonl").open(encoding="utf-8") as lines, (out / "languages.jsonl").open("w") as file:
        for line in lines:
            head = json.loads(line)["text"].lstrip()[:1_000]
            file.write(json.dumps(identifier.classify(head)[0]) + "\n")


def agree(inputs: Path, ours: Path, theirs: Path) -> str:
    """How many texts have the same label."""
    one, other = ((folder / "languages.jsonl").read_text().splitlines() for folder in (ours, theirs))
    return f"The same label for {sum(a == b for a, b in zip(one, other, strict=True)):,} of {len(one):,} texts."


PAIR = Pair(
    name="language/py3langid",
    peer=Peer("py3langid"),
    ours=ours,
    theirs=theirs,
    prepare=prepare,
    size=40_000_000,
    agree=agree,
    note="The language of the first 1,000 characters of each text. Ours: tag_language, a kernel over the tables of py3langid's model, from Parquet. Theirs: "
    "its `classify` text by text, from JSON lines, in the project's environment.",
)
