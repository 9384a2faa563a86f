"""Golden documents of the quality rules: each is told from an ordinary page by the one measure that its rule reads."""

import pyarrow as pa
import pytest

from dolma.filter.heuristics import COUNTS, RATIOS, tag_heuristics
from dolma.kernels import measures

GOOD = "The people of the town have to be at the market early, and that is what they do with joy.\n" * 6


def measured(text: str | None, **settings: object) -> dict[str, float | None]:
    made = tag_heuristics(pa.RecordBatch.from_arrays([pa.array([text], pa.large_string())], ["text"]), **settings)
    return {name: made.column(name)[0].as_py() for name in (*COUNTS, *RATIOS)}


LIMITS = {
    "n_chars": (150, None), "n_words": (50, 100_000), "mean_word_length": (3, 10), "symbol_ratio": (None, 0.1), "bullet_ratio": (None, 0.9),
    "ellipsis_ratio": (None, 0.3), "no_letter_ratio": (None, 0.2), "stop_words": (2, None),
}  # fmt: skip


def broken(text: str) -> set[str]:
    """The rules of spec rows 11 to 18 that a text breaks."""
    made = measured(text)
    out = set()
    for name, (low, high) in LIMITS.items():
        value = made[name]
        if value is None or (low is not None and value < low) or (high is not None and value > high):
            out.add(name)
    return out


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        (GOOD, set()), ("they have that will " * 5, {"n_chars", "n_words"}), ("a to " * 60, {"mean_word_length"}),
        ("incomprehensibilities to be " * 20 + "x" * 900, {"mean_word_length"}),
        (GOOD + "# " * 15, {"symbol_ratio"}), (GOOD.replace("The", "- The"), {"bullet_ratio"}), (GOOD.replace("joy.", "joy..."), {"ellipsis_ratio"}),
        (GOOD + "|| 123 " * 20, {"no_letter_ratio"}), ("Word salad makes sense never " * 20, {"stop_words"}),
    ],
)  # fmt: skip
def test_each_rule_is_broken_by_its_golden_document(text: str, rules: set[str]) -> None:
    assert broken(text) == rules


def test_empty_text_has_counts_of_zero_and_no_ratios() -> None:
    for text in ("", None, " \n "):
        made = measured(text)
        assert [made[name] for name in COUNTS[1:]] == [0] * 5
        assert [made[name] for name in RATIOS] == [None] * 8


def test_stop_words_and_short_lines_are_parameters() -> None:
    made = measured("Chat et chien\nune ligne qui est beaucoup plus longue que la limite", stop_words=("et", "une"), short_line=13)
    assert made["stop_words"] == 2 and made["short_line_ratio"] == 0.5


def test_columns_are_in_the_order_of_the_kernel() -> None:
    assert (*COUNTS, *RATIOS) == measures.QUALITY and len(COUNTS) == measures.QUALITY_COUNTS


def test_rows_do_not_depend_on_their_neighbours() -> None:
    texts = [GOOD, "", "x", GOOD * 3, None, "- a\n- b"]
    batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])
    whole = tag_heuristics(batch)
    for k in range(len(texts)):
        assert tag_heuristics(batch.slice(k, 1)).equals(whole.slice(k, 1))
    assert tag_heuristics(batch.slice(0, 0)).num_rows == 0


@pytest.mark.parametrize(
    ("text", "chars", "words", "bytes_a_run", "no_letter"),
    [
        ("\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u518d\u89c1", 9, 3, 12.0, 0.0),  # Chinese: a run of characters is a word
        ("\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645", 12, 2, 11.0, 0.0),  # Arabic
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", 11, 2, 15.0, 0.0),  # Devanagari: vowel signs belong to the word
        ("ok \U0001f600 \U0001f468\u200d\U0001f469", 8, 1, pytest.approx(17 / 3), pytest.approx(2 / 3)),  # emoji are no words
        ("caf\u00e9 x", 6, 2, 3.0, 0.0),  # composed
        ("cafe\u0301 x", 7, 2, 3.5, 0.0),  # decomposed: one word too, of more characters
    ],
)
def test_any_script_is_measured_in_its_own_words(text: str, chars: int, words: int, bytes_a_run: float, no_letter: float) -> None:
    made = measured(text)
    assert (made["n_chars"], made["n_words"], made["mean_word_length"], made["no_letter_ratio"]) == (chars, words, bytes_a_run, no_letter)
