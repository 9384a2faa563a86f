"""Every error that a user can meet, and the exit code each one ends with.

    DolmaError                       1
    |- ConfigError                   2   a YAML value, an unknown step, a column that nobody produced
    |- DataError                     3   bytes or counts are not what they must be
    |- EnvironmentFault              4   Java, disk space, a package, a server
    `- Partial                       5   some units failed; the rest is kept and a rerun resumes

130 is a keyboard interrupt. A message has four parts: where, what, got versus expected, the mend.
"""

from collections.abc import Sequence


class DolmaError(Exception):
    """An error with its place and its mend."""

    code = 1

    def __init__(self, where: str, what: str, *, got: object = None, expected: object = None, mend: str) -> None:
        self.where, self.what, self.got, self.expected, self.mend = where, what, got, expected, mend
        parts = [f"{where}: {what}"]
        if got is not None or expected is not None:
            parts.append(f"  got {got}, expected {expected}")
        parts.append(f"  mend: {mend}")
        super().__init__("\n".join(parts))

    def __reduce__(self) -> tuple[object, ...]:  # keyword-only arguments do not survive the default pickling between processes
        return _rebuild, (type(self), self.where, self.what, self.got, self.expected, self.mend)


class ConfigError(DolmaError):
    """A recipe, stage or env that cannot be run as written."""

    code = 2


class DataError(DolmaError):
    """Input or output whose bytes or counts break an invariant."""

    code = 3


class EnvironmentFault(DolmaError):
    """The machine lacks something: Java, disk, a package, a server."""

    code = 4


class Partial(DolmaError):
    """Some units failed; what is done is kept, and the same command resumes."""

    code = 5


class Errors(DolmaError):
    """Several errors of one file, shown at once; ends with the code of the first."""

    def __init__(self, errors: Sequence[DolmaError]) -> None:
        self.errors = tuple(errors)
        self.code = errors[0].code
        Exception.__init__(self, "\n".join(str(error) for error in errors))

    def __reduce__(self) -> tuple[object, ...]:
        return Errors, (self.errors,)


def _rebuild(kind: type[DolmaError], where: str, what: str, got: object, expected: object, mend: str) -> DolmaError:
    return kind(where, what, got=got, expected=expected, mend=mend)
