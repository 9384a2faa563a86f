"""Generated mathematics: a problem, a worked solution and an exact answer."""

from collections.abc import Callable
from fractions import Fraction
from math import gcd
from random import Random
from typing import Any

Problem = tuple[str, str, str]  # problem, solution, answer

NAMES = [
    "Ada",
    "Ben",
    "Chen",
    "Dalia",
    "Emil",
    "Fatima",
    "Grace",
    "Hugo",
    "Ines",
    "Jun",
    "Kofi",
    "Lena",
    "Mira",
    "Noor",
    "Omar",
    "Petra",
    "Ravi",
    "Sara",
    "Tom",
    "Uma",
]
THINGS = ["apples", "books", "coins", "tickets", "pencils", "stamps", "bottles", "cards", "seeds", "tiles"]


def arithmetic(random: Random) -> Problem:
    """A chain of additions, subtractions and one product."""
    a, b, c, d = random.randrange(2, 60), random.randrange(2, 60), random.randrange(2, 12), random.randrange(2, 12)
    product = c * d
    first = a + b
    last = first - product
    ask = random.choice(["Work out", "Compute", "What is the value of", "Evaluate"])
    return (
        f"{ask} {a} + {b} - {c} * {d}{'?' if ask.startswith('What') else '.'}",
        f"The product comes first: {c} * {d} = {product}. Then {a} + {b} = {first}, and {first} - {product} = {last}.",
        str(last),
    )


def shopping(random: Random) -> Problem:
    """Buying two kinds of things and getting change."""
    who, (one, two) = random.choice(NAMES), random.sample(THINGS, 2)
    n, p, m, q = random.randrange(2, 12), random.randrange(2, 15), random.randrange(2, 12), random.randrange(2, 15)
    cost = n * p + m * q
    paid = cost + random.randrange(1, 40)
    return (
        f"{who} buys {n} {one} for {p} dollars each and {m} {two} for {q} dollars each, and pays with {paid} dollars. How much change does {who} get?",
        f"The {one} cost {n} * {p} = {n * p} dollars and the {two} cost {m} * {q} = {m * q} dollars. Together that is {n * p} + {m * q} = {cost} dollars. "
        f"The change is {paid} - {cost} = {paid - cost} dollars.",
        str(paid - cost),
    )


def sharing(random: Random) -> Problem:
    """Sharing equally with a rest."""
    who, what = random.choice(NAMES), random.choice(THINGS)
    each, friends = random.randrange(3, 25), random.randrange(3, 12)
    rest = random.randrange(friends)
    total = each * friends + rest
    return (
        f"{who} has {total} {what} and shares them equally among {friends} friends. How many {what} are left over?",
        f"Each friend gets {total} // {friends} = {each} {what}, which uses {each} * {friends} = {each * friends}. "
        f"Left over are {total} - {each * friends} = {rest}.",
        str(rest),
    )


def linear(random: Random) -> Problem:
    """A linear equation with a whole solution."""
    x, a, c = random.randrange(-15, 16), random.randrange(2, 12), random.randrange(0, 2)
    b, slope = random.randrange(-30, 31), random.randrange(1, 5) * c
    right = a * x + b - slope * x
    if a == slope:
        return linear(random)
    left = f"{a}x {'+' if b >= 0 else '-'} {abs(b)}"
    other = f"{slope}x {'+' if right >= 0 else '-'} {abs(right)}" if slope else str(right)
    step = f"Subtract {slope}x from both sides: {a - slope}x {'+' if b >= 0 else '-'} {abs(b)} = {right}. " if slope else ""
    return (
        f"Solve for x: {left} = {other}.",
        f"{step}Bring {b} to the other side: {a - slope}x = {right} - ({b}) = {right - b}. Divide by {a - slope}: x = {x}.",
        str(x),
    )


def divisor(random: Random) -> Problem:
    """The greatest common divisor by Euclid's algorithm."""
    common = random.randrange(1, 20)
    a, b = common * random.randrange(2, 40), common * random.randrange(2, 40)
    steps, (x, y) = [], (max(a, b), min(a, b))
    while y:
        steps.append(f"{x} = {x // y} * {y} + {x % y}")
        x, y = y, x % y
    answer = str(gcd(a, b))
    why = f"Divide with remainder until nothing is left: {'; '.join(steps)}. The last divisor is {answer}."
    return f"What is the greatest common divisor of {a} and {b}?", why, answer


def percentage(random: Random) -> Problem:
    """A price after a discount or a rise."""
    base, percent = random.randrange(1, 60) * 20, random.randrange(1, 19) * 5
    part = Fraction(base * percent, 100)
    fall = random.random() < 0.5
    result = base - part if fall else base + part
    what, move = random.choice(["coat", "lamp", "bicycle", "table", "phone"]), "falls" if fall else "rises"
    return (
        f"A {what} costs {base} dollars. Its price {move} by {percent} percent. What is the new price?",
        f"{percent} percent of {base} is {base} * {percent} / 100 = {part}. The new price is {base} {'-' if fall else '+'} {part} = {result} dollars.",
        str(result),
    )


def sequence(random: Random) -> Problem:
    """A term of an arithmetic or geometric sequence."""
    start, n = random.randrange(1, 20), random.randrange(5, 12)
    if random.random() < 0.6:
        gap = random.randrange(2, 15)
        shown = ", ".join(str(start + gap * i) for i in range(4))
        value = start + gap * (n - 1)
        why = f"Each term is {gap} more than the one before. Term {n} is {start} + {n - 1} * {gap} = {value}."
    else:
        ratio = random.randrange(2, 4)
        shown = ", ".join(str(start * ratio**i) for i in range(4))
        value = start * ratio ** (n - 1)
        why = f"Each term is {ratio} times the one before. Term {n} is {start} * {ratio}^{n - 1} = {value}."
    return f"A sequence begins {shown}. What is term number {n}?", why, str(value)


def fractions(random: Random) -> Problem:
    """A sum of two fractions in lowest terms."""
    b, d = random.randrange(2, 13), random.randrange(2, 13)
    a, c = random.randrange(1, b), random.randrange(1, d)
    low = b * d // gcd(b, d)
    total = Fraction(a, b) + Fraction(c, d)
    return (
        f"Write {a}/{b} + {c}/{d} as one fraction in lowest terms.",
        f"The common denominator is {low}: {a * low // b}/{low} + {c * low // d}/{low} = {a * low // b + c * low // d}/{low}. In lowest terms this is {total}.",
        str(total),
    )


def journey(random: Random) -> Problem:
    """Distance from two speeds and times."""
    who, v, t, w, s = random.choice(NAMES), random.randrange(3, 30), random.randrange(1, 7), random.randrange(3, 30), random.randrange(1, 7)
    return (
        f"{who} cycles {t} hours at {v} km per hour and then {s} hours at {w} km per hour. How many kilometres is that in all?",
        f"The first part is {t} * {v} = {t * v} km and the second {s} * {w} = {s * w} km. In all that is {t * v} + {s * w} = {t * v + s * w} km.",
        str(t * v + s * w),
    )


KINDS: list[Callable[[Random], Problem]] = [arithmetic, shopping, sharing, linear, divisor, percentage, sequence, fractions, journey]


def problems(seed: int, count: int) -> list[dict[str, Any]]:
    """`count` different problems, the kinds in turn."""
    random = Random(f"math {seed}")
    seen: set[str] = set()
    made: list[dict[str, Any]] = []
    while len(made) < count:
        kind = KINDS[len(made) % len(KINDS)]
        problem, solution, answer = kind(random)
        if problem not in seen:
            seen.add(problem)
            made.append(
                {
                    "id": f"made-math-{seed}-{len(made)}",
                    "problem": problem,
                    "solution": solution,
                    "answer": answer,
                    "subject": kind.__name__,
                    "source": "generated",
                    "split": "train",
                }
            )
    return made
