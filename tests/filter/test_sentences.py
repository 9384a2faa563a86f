"""Golden documents of the sentence rules, with the patterns of the recipe."""

from typing import Any

import pyarrow as pa
import pytest
import yaml

from dolma.core.config import check
from dolma.core.errors import ConfigError
from dolma.core.step import REGISTRY
from dolma.filter.sentences import tag_sentences
from tests.filter.test_url import RECIPE

RULES: dict[str, Any] = next(one["tag_sentences"] for one in yaml.safe_load(RECIPE.read_text())["steps"] if "tag_sentences" in one)
NAMES = "Anna Berta Carla Dora Emma Frida Greta"


def measured(*texts: str | None, **changes: Any) -> list[dict[str, Any]]:
    batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])
    return tag_sentences(batch, **{**RULES, "patterns": tuple(RULES["patterns"]), **changes}).to_pylist()


@pytest.mark.parametrize(
    ("sentence", "questioned"),
    [
        (f"{NAMES} and four more came", None), (f"{NAMES} and four more came too", "list_case"),  # 11 words, 12 words
        (f"{NAMES} and then there were five more here", None),  # 7 of 14
        ("\u0410\u043d\u043d\u0430 " * 7 + "\u0438 " * 5, "list_case"), ("\u4e2d\u6587 " * 12, None),
        ("This is \ufffd\ufffd\ufffd text", "cursed"), ("This is \ufffd\ufffd text", None),
        ("We saw it on Facebook", "cursed"), ("we saw it on facebook", None),
        ("To \u2116 5 it goes", "cursed"), ("Home | About |  ", "cursed"), ("Home | About", None), ("See Vol.5 of it", "cursed"), ("See Volume 5 of it", None),
        ("\u9ec4\u8272\u7535\u5f71\u5728\u7ebf", "cursed"), ("5 \u043a\u0433.\u0434 \u0432\u0435\u0441", None),
        ("a b c d e f g h i j", "cursed"), ("a b c d e f g h", None),
        ("one, ab,, cd, ef,, gh, two", "cursed"), ("the cat sat and saw the dog run off now", "cursed"),  # nine words of three characters
        ("lorem ipsum dolor", "cursed"), ("Every one of us can read it", None),
    ],
)  # fmt: skip
def test_a_sentence_is_questioned_by_its_rule(sentence: str, questioned: str | None) -> None:
    made = measured(f"It begins. {sentence}")[0]
    assert made["sentences"] == 2
    assert [made["list_case_sentences"], made["cursed_sentences"]] == [int(questioned == "list_case"), int(questioned == "cursed")]
    assert made["questionable_ratio"] == (0.5 if questioned else 0.0)


@pytest.mark.parametrize(
    ("text", "cursed"),
    [
        ("See Vol. 5 of it.", 1), ("See Vol.", 1), ("Now Ep. 4 is out.", 1), ("Ep. 4 is out.", 0),  # the paper's ` Ep.` has a blank before it
        ("5 \u043a\u0433. Then.", 1), ("5 \u0433.\nThen.", 1), ("5 \u0448\u0442. Then.", 1), ("It is nr. 5.", 1), ("It is nr.5 now. Then.", 0),
        ("He is 5 \u043a\u0433 now. Then.", 0), ("Home | About |. Then.", 0),
    ],
)  # fmt: skip
def test_a_pattern_sees_the_marks_at_the_end_of_a_sentence(text: str, cursed: int) -> None:
    assert measured(text)[0]["cursed_sentences"] == cursed


def test_a_sentence_that_two_rules_question_counts_once() -> None:
    made = measured(f"It begins. {NAMES} Hilda on Facebook and three more came. It ends.")[0]
    assert (made["list_case_sentences"], made["cursed_sentences"]) == (1, 1)
    assert made["questionable_ratio"] == pa.scalar(1 / 3, pa.float32()).as_py()


def test_no_sentence_has_no_ratio_and_rows_do_not_mix() -> None:
    texts = ["", None, " \n", "One. On Facebook", "Two."]
    made = measured(*texts)
    assert [row["sentences"] for row in made] == [0, 0, 0, 2, 1]
    assert [row["questionable_ratio"] for row in made] == [None, None, None, 0.5, 0.0]
    assert [measured(text)[0] for text in texts] == made
    assert measured() == []


def test_without_patterns_only_list_case_counts() -> None:
    assert measured("On Facebook. mp3", patterns=())[0]["questionable_ratio"] == 0.0


def test_a_pattern_that_is_none_is_an_error_before_the_run() -> None:
    params = check({**RULES, "patterns": ["(open"]}, REGISTRY["tag_sentences"].params, "filter.yaml")
    with pytest.raises(ConfigError, match=r"`patterns`: .*missing \)"):
        REGISTRY["tag_sentences"].adds(params, pa.schema([("text", pa.large_string())]))
