"""What every message of an error must hold: where, what, got versus expected, and the mend."""

import re

PARTS = re.compile(r"^(?P<where>\S.*?): (?P<what>\S.*)\n  got (?P<got>.+), expected (?P<expected>.+)\n  mend: (?P<mend>\S.*)$", re.MULTILINE)


def parts(text: str, what: str = "") -> dict[str, str]:
    """The parts of the first message about `what` in a text of log lines; fails when one is absent or says None."""
    found = [match.groupdict() for match in PARTS.finditer(text) if what in match["what"]]
    assert found, f"no message about {what!r} with where, what, got, expected and mend in:\n{text}"
    assert not re.search(r"\bNone\b", f"{found[0]['got']} {found[0]['expected']}"), text
    return found[0]
