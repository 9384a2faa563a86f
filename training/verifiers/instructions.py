"""Instructions whose fulfilment can be counted."""


def repeat(answer: str, truth: str) -> float:
    """1 when the answer is one word exactly so often as asked; `truth` is `WORD N`."""
    word, _, times = truth.rpartition(" ")
    return float(answer.split() == [word] * int(times))
