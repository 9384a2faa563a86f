"""The figures that a stage file may ask for, by kind."""

from pathlib import Path

from training.config import Answers, BitsPerByte, Evaluation, Preference, Recall
from training.evaluate import bits_per_byte, choice, generate, long_context
from training.evaluate.figure import Figure
from training.model import Olmo3
from training.tokens import Tokenizer


def evaluate(item: Evaluation, model: Olmo3, tokenizer: Tokenizer, root: Path) -> list[Figure]:
    """The figures of one item of a stage's `evaluate`, on datasets below `root`.

    Raises:
        DataError: the dataset is missing, or holds nothing that can be measured.
    """
    match item:
        case BitsPerByte():
            return bits_per_byte.evaluate(item, model, tokenizer, root)
        case Recall():
            return long_context.evaluate(item, model, tokenizer, root)
        case Answers():
            return generate.evaluate(item, model, tokenizer, root)
        case Preference():
            return choice.evaluate(item, model, tokenizer, root)
