import pyarrow as pa

from dolma.extract.code import extract_code


def rows(*files: tuple[str, str], language: str | None = None, with_language: bool = True) -> list[dict]:
    table = {
        "id": pa.array([f"a{k}" for k in range(len(files))]),
        "path": pa.array([path for path, _ in files], pa.string()),
        "text": pa.array([text for _, text in files], pa.large_string()),
    }
    if with_language:
        table["language"] = pa.array([language] * len(files), pa.string())
    batch = pa.RecordBatch.from_pydict(table)
    made = extract_code(batch)
    assert made.schema == extract_code.adds(extract_code.params(), batch.schema)
    return made.to_pylist()


def test_the_text_is_as_it_was_and_the_source_is_code():
    (row,) = rows(("a.py", "x = 1\r\n"), language="Python")
    assert row["text"] == "x = 1\r\n" and (row["source"], row["lang"], row["lang_score"], row["url"]) == ("code", "code", 1.0, None)
    assert row["key"] >= 0


def test_language_is_that_of_the_input_else_of_the_name_or_first_line():
    assert rows(("a.py", ""), language="Cython")[0]["language"] == "Cython"
    for given in (True, False):
        made = rows(("a.rs", ""), ("tool", "#!/bin/sh\nls"), ("what", "text"), with_language=given)
        assert [row["language"] for row in made] == ["Rust", "Shell", None]


def test_an_empty_batch_has_its_schema():
    assert rows() == []
