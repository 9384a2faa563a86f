"""Tables that a command keeps up to date in the README, each between two markers of its own."""

from pathlib import Path

from dolma.core.errors import DataError
from dolma.core.files import write_atomic


def rewrite(readme: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- name -->` and `<!-- /name -->`.

    Raises:
        DataError: the markers do not stand there once each, in order; nothing is written.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    whole = readme.read_text(encoding="utf-8")
    before, _, rest = whole.partition(begin)
    _, _, after = rest.partition(end)
    if whole.count(begin) != 1 or whole.count(end) != 1 or whole.index(begin) > whole.index(end):
        raise DataError(str(readme), f"the place of the table `{name}` is not marked", expected=f"{begin} and {end}, once each", mend="add the markers")
    write_atomic(readme, f"{before}{begin}\n{text.strip()}\n{end}{after}".encode())
