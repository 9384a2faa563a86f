"""The main text of a page with trafilatura; the only file that imports it."""

from typing import Any

from dolma.core.errors import EnvironmentFault


def main_text(html: str, *, comments: bool) -> str:
    """The main text with trafilatura's own settings, empty where it finds none."""
    return _trafilatura().extract(html, include_comments=comments) or ""


def _trafilatura() -> Any:
    try:
        import trafilatura
    except ImportError as error:
        raise EnvironmentFault("dolma.extract.trafilatura", "trafilatura is not installed", mend="pip install 'dolma-flow[web]'") from error
    return trafilatura
