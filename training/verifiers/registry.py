"""Verifiers by name: a response and the truth to a score in [0, 1]. The name stands in the prompt's own row, beside the truth."""

from collections.abc import Callable

from dolma.core.errors import DataError
from training.verifiers import instructions, math, text

VERIFIERS: dict[str, Callable[[str, str], float]] = {
    "number": math.number,
    "exact": text.exact,
    "repeat": instructions.repeat,
    "between": instructions.between,
    "round": instructions.round_number,
}


def score(verifier: str, response: str, truth: str) -> float:
    """What `verifier` says of the answer in `response`: its thinking is stripped first (Olmo 3 report, section 4.4.2).

    Raises:
        DataError: no such verifier.
    """
    if verifier not in VERIFIERS:
        raise DataError("verifier", f"unknown verifier `{verifier}`", got=verifier, expected=", ".join(VERIFIERS), mend="name one of these in the prompts")
    return VERIFIERS[verifier](text.final(response), truth)
