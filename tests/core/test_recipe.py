"""What a recipe refuses before anything runs, and how it says so."""

from pathlib import Path

import pyarrow as pa
import pytest

from dolma.core import recipe
from dolma.core.errors import ConfigError, DolmaError, Errors
from dolma.core.graph import Graph
from dolma.engines.cost import families
from dolma.engines.plan import load_steps
from tests.engines.flow import RECIPES, write_recipes

DOCUMENT = pa.schema([("id", pa.string()), ("key", pa.int64()), ("source", pa.string()), ("text", pa.large_string())])


def compiled(value: dict, schema: pa.Schema = DOCUMENT) -> recipe.Compiled:
    load_steps()
    return recipe.compile("pool/x", recipe.parse("pool/x", value, "x.yaml"), "x.yaml", lambda _: schema)


def test_columns_are_followed_through_the_steps() -> None:
    made = compiled(
        {"input": "a", "table": "document", "steps": [{"set": {"columns": {"n": "length(text)"}}}, {"keep": {"where": "n > 3", "reason": "short"}}]}
    )
    assert made.schema.field("n").type == pa.int64()
    assert made.needs == ("a",)


@pytest.mark.parametrize("where", ["len([p for p in pii if p.kind = 'email']) < 2", "len(list_filter(pii, lambda p: p.kind = 'email')) < 2"])
def test_a_recipe_may_count_the_items_of_a_list(where: str) -> None:
    steps = [{"set": {"columns": {"n": "1"}}}, {"tag_pii": {}}, {"keep": {"where": where, "reason": "personal_data"}}]
    made = compiled({"input": "a", "table": "rows", "steps": steps})
    assert families(made)[made.steps[-1].label] == made.steps[1].label == "1:tag_pii"


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([{"keap": {"where": "true", "reason": "x"}}], ["unknown step `keap`", "did you mean `keep`?"]),
        ([{"keep": {"where": "true", "raeson": "x"}}], ["unknown key `raeson`", "did you mean `reason`?"]),
        ([{"keep": {"where": "n_words > 3", "reason": "x"}}], ["n_words", "id, key, source, text"]),
        ([{"keep": {"where": "random() < 0.5", "reason": "x"}}], ["random()", "deterministic"]),
        ([{"keep": {"where": "length(text)", "reason": "x"}}], ["BIGINT", "BOOLEAN"]),
        ([{"select": {"columns": ["id", "txt"]}}], ["no column txt"]),
        ([{"select": {"columns": ["id", "text"]}}], ["not a `document` table", "key int64"]),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_mend(steps: list, words: list[str]) -> None:
    with pytest.raises(DolmaError) as error:
        compiled({"input": "a", "table": "document", "steps": steps})
    assert error.value.code == 2
    assert all(word in str(error.value) for word in [*words, "x.yaml", "mend:"])


def test_all_errors_of_a_file_are_shown_at_once() -> None:
    with pytest.raises(Errors) as error:
        compiled({"input": "a", "table": "document", "steps": [{"keap": {}}, {"keep": {"where": "true"}}]})
    assert len(error.value.errors) == 2


def test_a_column_that_nobody_produced_names_the_step_that_would() -> None:
    load_steps()
    value = {"uses": ["tests.engines.flow"], "input": "a", "table": "tag", "steps": [{"select": {"columns": ["id", "key", "source"]}}, {"count_test_rows": {}}]}
    with pytest.raises(ConfigError, match="column `text` is not in the table"):
        compiled(value)


def test_read_and_input_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="either `read` or `input`"):
        recipe.parse("x", {"input": "a", "read": {"jsonl": {}}, "table": "rows"}, "x.yaml")


def test_unknown_tag_column_is_refused() -> None:
    with pytest.raises(ConfigError, match="no column `copies`"):
        compiled({"input": "a", "tags": {"t": ["copies"]}, "table": "document"})


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"pool/exact": ["exact_of"], "pool/urls": ["cluster", "exact_of"]}, "`exact_of` comes from pool/exact and from pool/urls"),
        ({"pool/exact": ["exact_of", "exact_of"]}, "`exact_of` comes from pool/exact and from pool/exact"),
        ({"pool/exact": ["key"]}, "`key` comes from the input pool/a and from pool/exact"),
    ],
)
def test_a_column_that_comes_twice_is_refused_with_both_of_its_datasets(tags: dict, words: str) -> None:
    load_steps()
    tag = pa.schema([("origin", pa.int64()), ("key", pa.int64()), ("exact_of", pa.int64()), ("cluster", pa.int64())])
    made = recipe.parse("pool/x", {"input": "pool/a", "tags": tags, "table": "document"}, "x.yaml")
    with pytest.raises(ConfigError, match=f"x.yaml: tags: {words}"):
        recipe.compile("pool/x", made, "x.yaml", lambda name: DOCUMENT if name == "pool/a" else tag)


def test_a_circle_of_recipes_is_named(tmp_path: Path) -> None:
    write_recipes(tmp_path, {"a/one": {"input": "a/two", "table": "rows"}, "a/two": {"input": "a/one", "table": "rows"}})
    with pytest.raises(ConfigError, match="a/one -> a/two -> a/one"):
        Graph(tmp_path / "pipelines").order(["a/one"])


def test_order_puts_inputs_tags_and_assets_first(tmp_path: Path) -> None:
    load_steps()
    graph = Graph(write_recipes(tmp_path))
    order = graph.order(graph.targets(["pool/count"]))
    assert order == ["source/read", "pool/short", "pool/copies", "pool/first", "pool/count"]
    assert graph.targets(["pool"]) == ["pool/copies", "pool/count", "pool/first", "pool/short"]


def test_an_unknown_dataset_names_the_nearest(tmp_path: Path) -> None:
    load_steps()
    with pytest.raises(ConfigError, match="did you mean `pool/short`"):
        Graph(write_recipes(tmp_path)).targets(["pool/shorts"])


def test_defaults_enter_the_fingerprint() -> None:
    one = compiled({"input": "a", "table": "document", "steps": []}).resolved()
    assert one["quarantine"] == 0.01 and one["format"] == "parquet"
    assert RECIPES["source/read"]["quarantine"] == 0.2


@pytest.mark.parametrize("files", [3, ["a", 4], "/etc/hostname", "../../secret", ["web/*.gz", "x/../../y"]])
def test_files_lie_below_the_raw_folder(files: object) -> None:
    with pytest.raises(ConfigError, match="globs below the env's raw folder") as error:
        compiled({"read": {"jsonl": {"files": files, "columns": {"id": "string"}}}, "table": "rows", "steps": []})
    assert error.value.code == 2


@pytest.mark.parametrize(
    ("steps", "unread"),
    [
        ([{"mark_same_id": {}}], {"text"}),
        ([{"keep": {"where": "source = 'web'", "reason": "x"}}, {"mark_same_id": {}}], {"text"}),
        ([{"keep": {"where": "length(text) > 3", "reason": "x"}}, {"mark_same_id": {}}], set()),
        ([{"set": {"columns": {"n": "length(text)"}}}, {"mark_same_id": {}}], set()),
        ([{"keep": {"where": "len(columns('te.*')) > 0", "reason": "x"}}, {"mark_same_id": {}}], set()),
        ([{"mark_exact": {}}], set()),
        ([{"mark_exact": {"by": "source"}}], {"text"}),
        ([{"select": {"columns": ["id", "key"]}}], {"text"}),
        ([{"select": {"columns": ["id", "text"]}}], set()),
        ([], set()),
    ],
)
def test_long_columns_that_nothing_looks_at_are_not_read(steps: list, unread: set[str]) -> None:
    schema = pa.schema([*DOCUMENT, ("file", pa.string()), ("offset", pa.int64())])
    grouped = bool(steps) and next(iter(steps[-1])).startswith("mark")
    made = compiled({"input": "a", "table": "tag" if grouped else "rows", "steps": steps}, schema)
    assert made.unread == unread and set(made.source.names) - set(made.taken.names) == unread
