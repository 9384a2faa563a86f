"""Peers that more than one pair names; a peer of one pair is declared in the pair's file."""

from benchmarks.pair import Peer

TEXT = ("spacy==3.8.*", "nltk>=3.9", "regex", "tldextract", "tokenizers", "orjson")
PAGES = ("warcio", "fasteners", "faust-cchardet", "python-magic", "pyahocorasick", "trafilatura<1.12", "resiliparse==2.0.*")
# Without torch: spaCy imports it where it is installed, 4 CPU s that DataTrove's text steps do not need. xxhash 4 breaks MinHash of DataTrove 0.9,
# which pins trafilatura below 1.12.
DATATROVE = Peer("datatrove", packages=("datatrove==0.9.*", "xxhash<4", *TEXT, *PAGES), absent=("torch",))
DOLMA = Peer("dolma", packages=("dolma==1.2.1",), absent=("torch",))
