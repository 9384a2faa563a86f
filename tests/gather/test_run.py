import gzip
import json
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from dolma.core.errors import ConfigError
from dolma.gather.run import gather

FIELDS = {
    "code/source_files.jsonl.gz": {"id", "source", "repo", "path", "language", "licence", "text", "flags"},
    "wiki/featured_articles_plain.jsonl.gz": {"id", "title", "source", "lang", "format", "text", "licence"},
    "wiki/wikitext_pages.jsonl.gz": {"id", "title", "source", "lang", "format", "text", "categories", "licence"},
    "math/generated_train.jsonl.gz": {"id", "problem", "solution", "answer", "subject", "source", "split"},
    "quality/quality_labels.jsonl.gz": {"id", "text", "label", "strength", "provenance", "reason"},
    "topics/newsgroups_labelled.jsonl.gz": {"id", "text", "topic", "topic_coarse", "source"},
}


def rows(path: Path) -> list[dict]:
    with gzip.open(path) as file:
        return [json.loads(line) for line in file]


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> tuple[Path, dict[str, int], list[str]]:
    folder, lines = tmp_path_factory.mktemp("raw"), list[str]()
    before = set(sys.modules)
    counts = gather(folder, size="mini", report=lines.append)
    assert not {name.split(".")[0] for name in set(sys.modules) - before} & {"torch", "pymupdf", "pypdfium2", "duckdb", "numba"}
    return folder, counts, lines


def test_layout_and_fields_are_those_of_the_data_kit(corpus):
    folder, counts, lines = corpus
    for name, fields in FIELDS.items():
        made = rows(folder / name)
        assert made and all(set(row) == fields for row in made), name
        assert len({row["id"] for row in made}) == len(made), name
    assert len(list((folder / "web").glob("crawl-A-0000?.warc.gz"))) == 8
    assert set(counts) == {"web", "code", "wiki", "wikitext", "math", "quality", "topics", "pdf"} and min(counts.values()) > 0
    assert len(lines) == 9


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes_and_another_seed_other_ones(corpus, tmp_path):
    folder, _, _ = corpus
    gather(tmp_path / "same", size="mini", report=lambda _: None)
    assert digests(tmp_path / "same") == digests(folder)
    gather(tmp_path / "other", size="mini", seed=1, report=lambda _: None)
    other = digests(tmp_path / "other")
    assert other.keys() == digests(folder).keys() and not set(other.values()) & set(digests(folder).values())


def test_crawl_has_pages_and_the_rubbish_of_a_crawl(corpus):
    from warcio.archiveiterator import ArchiveIterator

    kinds: dict[str, int] = {}
    urls, bodies = [], []
    for path in sorted((corpus[0] / "web").glob("*.warc.gz")):
        with open(path, "rb") as file:
            for record in ArchiveIterator(file, check_digests="raise"):
                if record.rec_type == "response":
                    body = record.content_stream().read()
                    status = record.http_headers.get_statuscode()
                    kind = (record.http_headers.get_header("Content-Type") or "").split(";")[0]
                    kinds[f"{status} {kind}"] = kinds.get(f"{status} {kind}", 0) + 1
                    urls.append(record.rec_headers.get_header("WARC-Target-URI"))
                    bodies.append(sha256(body).hexdigest())
                    assert int(record.http_headers.get_header("Content-Length")) == len(body)
    assert len(urls) == corpus[1]["web"] and kinds["200 text/html"] > 300
    assert {"404 text/html", "301 text/html", "200 application/json", "200 image/png"} <= set(kinds)
    assert len(set(urls)) < len(urls) and len(set(bodies)) < len(set(urls))  # captured twice; the same page under two addresses


def test_labels_have_two_classes_and_several_topics(corpus):
    labels = rows(corpus[0] / "quality" / "quality_labels.jsonl.gz")
    good = sum(row["label"] for row in labels)
    assert 0.4 < good / len(labels) < 0.6
    assert 5 <= len({row["topic"] for row in rows(corpus[0] / "topics" / "newsgroups_labelled.jsonl.gz")}) <= 10


def test_index_of_pdfs_names_every_file(corpus):
    index = [json.loads(line) for line in (corpus[0] / "pdf" / "index.jsonl").read_text().splitlines()]
    assert {row["file"] for row in index} == {f"pdf/{path.name}" for path in (corpus[0] / "pdf").glob("*.pdf")}
    assert {row["expected"] for row in index} == {"ok", "password_needed", "unreadable_or_partial", "no_text_layer"}


def test_unknown_size_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="unknown size"):
        gather(tmp_path / "x", size="huge")
    assert not (tmp_path / "x").exists()


def test_what_is_there_is_not_made_again_unless_it_is_another_or_not_whole(corpus):
    folder, counts, _ = corpus
    before, said = digests(folder), list[str]()
    assert gather(folder, size="mini", report=said.append) == counts and said == [f"{folder} has this corpus already"]
    hit = folder / "math/generated_train.jsonl.gz"
    hit.unlink()
    assert gather(folder, size="mini", report=said.append) == counts and digests(folder) == before and len(said) == 10


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="other files") as error:
        gather(tmp_path, size="mini", report=lambda _: None)
    assert error.value.got == "thesis.txt" and sorted(path.name for path in tmp_path.iterdir()) == ["thesis.txt"]
