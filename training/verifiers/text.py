"""What a response answers, and texts that must be equal."""

OPEN, CLOSE = "<think>", "</think>"


def final(response: str) -> str:
    """The answer of a response: what follows its last `</think>`; all of it when there is none."""
    return response.rpartition(CLOSE)[2].strip()


def in_template(response: str) -> bool:
    """Whether a response is one thought between `<think>` and `</think>`, then a non-empty answer."""
    head, mark, answer = response.partition(CLOSE)
    return bool(mark) and head.startswith(f"{OPEN}\n") and OPEN not in head[1:] and CLOSE not in answer and bool(answer.strip())


def exact(answer: str, truth: str) -> float:
    """1 when both are the same words in the same order; white space between them does not count."""
    return float(answer.split() == truth.split())
