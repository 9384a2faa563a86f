"""dolma-flow: from raw web pages and PDFs to a reasoning model."""

__version__ = "0.1.0"
