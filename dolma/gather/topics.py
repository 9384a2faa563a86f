"""Topics of modules and packages: the chapters of the standard library's documentation, and the domain of what is installed."""

import re

COARSE = {
    "text": "content",
    "data-types": "programming",
    "numeric": "science",
    "files": "systems",
    "networking": "systems",
    "concurrency": "systems",
    "development": "programming",
    "language": "programming",
    "learning": "science",
    "graphics": "content",
}

_MODULES = {
    "text": "string re difflib textwrap unicodedata stringprep readline rlcompleter html xml markupbase _markupbase gettext locale "
    "codecs encodings json email mailcap mimetypes quopri uu binhex base64 cmd shlex csv plistlib sgmllib tomllib",
    "data-types": "datetime calendar collections heapq bisect array weakref types copy pprint reprlib enum dataclasses struct copyreg "
    "zoneinfo graphlib _collections_abc _weakrefset _pydatetime _strptime keyword",
    "numeric": "numbers math cmath decimal _pydecimal fractions random statistics itertools functools operator colorsys",
    "files": "pathlib os posixpath ntpath genericpath fileinput stat filecmp tempfile glob fnmatch linecache shutil pickle "
    "pickletools shelve dbm sqlite3 zlib gzip bz2 lzma zipfile tarfile configparser netrc io _pyio nturl2path zipapp "
    "zipimport _compression",
    "networking": "socket ssl select selectors asyncore asynchat smtpd smtplib http urllib ftplib poplib imaplib nntplib telnetlib uuid "
    "socketserver xmlrpc ipaddress cgi cgitb wsgiref webbrowser mailbox hashlib hmac secrets crypt",
    "concurrency": "threading multiprocessing concurrent subprocess sched queue contextvars _threading_local asyncio signal pty tty pipes",
    "development": "typing pydoc pydoc_data doctest unittest lib2to3 test bdb pdb profile cProfile pstats timeit trace tracemalloc "
    "distutils ensurepip venv warnings contextlib abc atexit traceback logging getopt argparse optparse getpass platform "
    "sysconfig idlelib",
    "language": "ast symtable token tokenize tabnanny pyclbr py_compile compileall dis opcode inspect site importlib pkgutil "
    "modulefinder runpy code codeop __future__ builtins codegen _sitebuiltins _bootsubprocess sre_parse sre_compile "
    "sre_constants imp this",
    "graphics": "tkinter turtle turtledemo wave chunk sunau aifc sndhdr imghdr curses",
}
_PACKAGES = {
    "text": "pygments markdown_it docutils regex wcwidth tokenizers charset_normalizer chardet idna jinja2 markupsafe yaml ruamel "
    "tabulate mwparserfromhell fasttext resiliparse py3langid pyparsing sentencepiece lxml bs4 trafilatura babel orjson "
    "latex2sympy2_extended markdown",
    "data-types": "pandas pyarrow attr attrs pydantic pydantic_core dateutil pytz arrow isodate sortedcontainers multidict frozenlist "
    "propcache duckdb annotated_types polars flatbuffers catalogue cytoolz toolz cachetools validators tzdata",
    "numeric": "numpy scipy sympy mpmath networkx numba datasketch llvmlite statsmodels gmpy2 xxhash rensa sklearn",
    "files": "fsspec h5py zstandard snappy cramjam brotli filelock pymupdf pypdfium2 pypdfium2_raw pypdf pdfminer s3fs streaming "
    "platformdirs warcio fastwarc zarr crc32c google_crc32c pymupdf4llm",
    "networking": "requests urllib3 aiohttp websockets httpx httpcore h11 yarl azure boto3 botocore s3transfer google oci paramiko "
    "graphql gql jwt OpenSSL nacl cryptography msal huggingface_hub certifi pkcs11 aiosignal grpc flask werkzeug starlette "
    "hf_xet",
    "concurrency": "pyspark multiprocess py4j anyio sniffio joblib execnet dask ray psutil tenacity backoff celery trio gevent datatrove aiohappyeyeballs",
    "development": "pip setuptools wheel pytest _pytest pluggy hypothesis ruff pyright coverage mypy click typer rich tqdm loguru "
    "questionary prompt_toolkit argcomplete grimp importlinter black virtualenv uv nodeenv pkg_resources mcli opentelemetry "
    "packaging",
    "language": "cffi pycparser pybind11 typing_extensions typing_inspection dill cloudpickle six mypy_extensions jedi parso antlr4 "
    "astroid zipp importlib_metadata",
    "learning": "torch transformers torchvision torchmetrics composer onnxruntime safetensors functorch torchgen lightning_utilities "
    "torch_optimizer pytorch_ranger triton accelerate peft olmo olmocr",
    "graphics": "matplotlib PIL fontTools contourpy cycler kiwisolver plotly seaborn mpl_toolkits",
}
STDLIB = {name: topic for topic, names in _MODULES.items() for name in names.split()}
PACKAGES = {name.lower().replace("-", "_"): topic for topic, names in _PACKAGES.items() for name in names.split()}

# What a package says of itself in its metadata, for the packages that are not listed.
_HINTS = [
    ("learning", r"machine.learning|neural|deep.learning|artificial intelligence"),
    ("networking", r"internet|http|cloud|network|client for|aws|azure"),
    ("concurrency", r"async|parallel|distributed|thread|process"),
    ("graphics", r"plot|image|graphics|font|draw"),
    ("text", r"text processing|parser for|markup|unicode|linguistic|markdown"),
    ("numeric", r"mathematic|numeric|scientific|statistic|algorithm"),
    ("files", r"file|archiv|compress|storage|serializ"),
    ("data-types", r"data structure|date|time|container|database"),
    ("language", r"compiler|interpreter|bytecode|bindings|type hint"),
]


def of_module(package: str, module: str) -> str:
    """Topic of a standard library module (`package` is `python`) or of a module of a package; `development` when nothing is known."""
    if package == "python":
        return STDLIB.get(module.split(".")[0], "development")
    return PACKAGES.get(package.lower().replace("-", "_"), "development")


def of_package(package: str, metadata: str) -> str:
    """Topic of an installed package, from the list or from its metadata."""
    name = package.lower().replace("-", "_")
    if name in PACKAGES:
        return PACKAGES[name]
    head = metadata[:3000].lower()
    return next((topic for topic, pattern in _HINTS if re.search(pattern, head)), "development")
