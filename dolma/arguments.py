"""The words of the command line: verbs, their arguments, and what `--help` says of them."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dolma.core.config import Env

from dolma.core.amounts import amount

Verb = Callable[..., argparse.ArgumentParser]
STATS_EXAMPLES = """examples:
  dolma stats source/web/filter                                              documents removed, % of pool, % of CPU by family of rules
  dolma stats source/web/filter --what-if                                    what each rule takes first, alone, and only it
  dolma stats source/web/filter --what-if "few_characters: n_chars >= 100"   and what another threshold would bring or cost
  dolma stats source/web/filter --what-if --save                             and every row's measures, for dolma sql"""
SQL_EXAMPLES = """examples:
  SELECT reason, sum(rows) FROM counts WHERE dataset = 'source/web/filter' AND kind = 'dropped' GROUP BY 1 ORDER BY 2 DESC
  SELECT family, sum(cpu) AS cpu, 100 * sum(cpu) / sum(sum(cpu)) OVER () AS share FROM costs WHERE dataset = 'source/web/filter' GROUP BY 1
  SELECT count(*) AS lost, sum(length(text)) AS characters FROM source_web_filter WHERE lang_score < 0.8
after `dolma stats source/web/filter --what-if --save`:
  SELECT fails, count(*) AS n, sum(chars) AS chars FROM measures_source_web_filter GROUP BY 1 ORDER BY 2 DESC LIMIT 20
  SELECT count(*) AS kept, sum(chars) AS chars FROM measures_source_web_filter WHERE (fails = [] OR fails = ['not_english']) AND lang_score >= 0.5
  SELECT n, count(*) FILTER (n_words < n) AS lost FROM measures_source_web_filter, range(10, 110, 10) AS r(n) GROUP BY 1 ORDER BY 1"""

MIX_EXAMPLES = """examples:
  dolma mix mix/pretrain --by vigintile
  dolma mix mix/midtrain --against mix/pretrain --by topic --format csv
  dolma mix mix/pretrain --set shares.web=0.4 --set tokens=2e6 --plot change.html
  dolma mix mix/pretrain --set "floors={wiki: 0.2}" --set upsampling=null"""

NEAR_EXAMPLES = """examples:
  dolma near "$(head -c 3000 page.txt)"
  dolma near --file page.txt --in pool/documents --threshold 0.3 --format json
  dolma near - --lines --lsh --in pool/unique < texts.txt
  dolma near --file page.txt --in pool/candidates --bands pool/bands      finds what its bands find: with 26 x 11 half of what has .72"""

BUDGET_EXAMPLES = """Give all but one of gpus, days (or GPU days), tokens and the rate (or a model and its utilisation).
Price gives the cost, or cost and price the GPU days. Without --uptime it follows from the others, or is 1. Tokens and a pool give the repeats.

examples:
  dolma plan budget --gpus 1024 --days 56 --price 2                                   cost
  dolma plan budget --gpus 512 --days 17.5 --rate 7700 --price 2                      tokens and cost
  dolma plan budget --model 7B --tokens 5.93e12 --gpus 512 --utilisation 0.42         days
  dolma plan budget --model 32B --tokens 5.5e12 --gpu-days 512x9.5+1024x35 --rate 2000       the share of the time that it trained
  dolma plan budget --cost 1e6 --price 2 --model pipelines/train/big.yaml --utilisation 0.4 --pool shard/pool --shares mix/pretrain
  dolma plan budget --tokens 6T --pool shard/pool                                     repeats of each source
  dolma plan budget --tokens 5.93e12 --gpus 512 --rate 7700 --pool source_mix.csv --shares mix_tokens --format json
Caps hold for the mean repeats of a source: a quality curve that throws data away reaches the cap of its best cells earlier."""


def joined(argv: list[str]) -> list[str]:
    """The words of a command line, `plan budget` as one."""
    return ["plan budget", *argv[2:]] if argv[:2] == ["plan", "budget"] else argv


def env(file: Path) -> "Env":
    """The env that a command line names."""
    from dolma.core.config import Env, read_yaml

    return read_yaml(file, Env)


def parser(verbs: Mapping[str, Callable[[argparse.Namespace], None]]) -> argparse.ArgumentParser:
    """The parser of the command line; its namespace has the function of its verb as `verb`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--env", default="tiny", help="name of a file in pipelines/env, or a YAML file (default: tiny)")
    common.add_argument("--pipelines", type=Path, default=Path("pipelines"), help="folder of the recipes (default: pipelines)")
    common.add_argument("--log", choices=("text", "json"), default="text", help="form of the log lines on stderr")
    made = argparse.ArgumentParser(prog="dolma", description="From raw pages to training shards: one flow, every number with one cause.")
    every = made.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, text: str, examples: str = "") -> argparse.ArgumentParser:
        form = argparse.RawDescriptionHelpFormatter
        one = every.add_parser(name, parents=[common], help=text, description=text, epilog=examples, formatter_class=form)
        one.set_defaults(verb=verbs[name])
        return one

    _bringing(verb)
    one = verb("plan", "say what a run would do; writes nothing. `dolma plan budget` plans tokens, GPUs and cost instead")
    one.add_argument("targets", nargs="*", default=["."], help="datasets, folders or files of the pipelines (default: all)")
    _budget(verb)
    one = verb("run", "make every stale dataset and stage among the targets and what they need")
    one.add_argument("targets", nargs="*", default=["."], help="datasets, folders or files of the pipelines (default: all)")
    one.add_argument("--force", action="store_true", help="make them again although they are fresh")
    one = verb("swarm", "find a mix by experiment: train proxies on other mixes, fit laws of their losses, propose the best mix")
    one.add_argument("name", help="of a file in pipelines/swarm, or a YAML file")
    what = one.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="say what would be trained and how long it takes; writes nothing")
    what.add_argument("--proposal", action="store_true", help="print the proposed shares of a finished swarm, as YAML for `plan_mix`")
    _looking(verb)
    _mixing(verb)
    one = verb("compare", "score HTML extractors on pages whose main text is known")
    one.add_argument("pages", type=Path, help="JSONL of {id, text} and the page: html, file, or warc and warc_record_id (files beside it)")
    one.add_argument("--extractors", default="resiliparse,resiliparse-main,trafilatura", help="comma-separated (default: %(default)s)")
    one.add_argument("-n", type=int, default=10, help="how many pages on which the first does worst (default: 10)")
    one.add_argument("--page", metavar="ID", help="print the known text of one page and those of the extractors side by side")
    one.add_argument("--width", type=int, default=160, help="characters of a line of --page (default: 160)")
    _near(verb)
    one = verb("trace", "name the documents inside a packed sequence")
    one.add_argument("dataset", help="e.g. shard/pool")
    one.add_argument("stream", help="e.g. web/science/18")
    one.add_argument("sequence", type=int, help="index in the stream, from 0")
    one = verb("report", "write one HTML file with the funnel, cells, mixes, curves and held-out figures")
    one.add_argument("--out", type=Path, help="the file (default: report.html in the env's root)")
    one.add_argument("--title", help="heading of the page")
    one = verb("publish", "write a mix as MosaicML shards, or documents in the layout of the Dolma toolkit")
    one.add_argument("dataset", help="a mix, e.g. mix/pretrain, or documents, e.g. pool/unique")
    one.add_argument("out", type=Path, help="a folder that does not exist yet")
    one.add_argument("--seed", type=int, default=0, help="seed of which sequences get one copy more")
    one = verb("verify", "hash every file again, check every ledger against the manifests, and what a stage served against its mix")
    one.add_argument("datasets", nargs="*", help="default: all")
    one.add_argument("--streams", action="store_true", help="served sequences by stream, not only by source")
    one = verb("steps", "list the steps that recipes may use, or describe one")
    one.add_argument("name", nargs="?")
    verb("doctor", "say what this machine has, what is missing, and how to get it")
    return made


def _bringing(verb: Verb) -> None:
    """The verbs that bring raw files: gather, fetch."""
    one = verb("gather", "make a raw corpus from this machine, offline, in the env's raw folder")
    one.add_argument("folder", nargs="?", type=Path, help="where (default: the env's raw folder)")
    one.add_argument("--seed", type=int, help="seed of what is generated")
    one.add_argument("--size", help="how much: tiny (default) or mini")
    one = verb("fetch", "download archives of a crawl, resumed and checked, to where source/web/extract reads them")
    one.add_argument("source", choices=("commoncrawl",), help="whose archives")
    one.add_argument("--crawl", required=True, help="e.g. CC-MAIN-2024-51; index.commoncrawl.org lists them")
    one.add_argument("--kind", choices=("warc", "wet"), default="warc", help="raw pages (about 1 GB a file), or their plain text (about 0.1 GB)")
    one.add_argument("--limit", type=_count, required=True, metavar="N", help="how many files; a crawl has up to 100,000")
    one.add_argument("--spread", type=int, nargs="?", const=0, metavar="SEED", help="evenly from the whole crawl, not its first files (seed: 0)")
    one.add_argument("--base", metavar="URL", help="where `crawl-data/` is (default: https://data.commoncrawl.org/)")
    one.add_argument("--out", type=Path, metavar="FOLDER", help="files go to FOLDER/CRAWL (default: the folder `web` of the env's raw folder)")
    one.add_argument("--workers", type=_count, default=4, metavar="N", help="downloads at once (default: 4)")
    one.add_argument("--attempts", type=_count, default=10, metavar="N", help="requests for one file before it is given up for this run (default: 10)")
    one.add_argument("--timeout", type=_count, default=60, metavar="SECONDS", help="without a byte, after which an attempt ends (default: 60)")


def _budget(verb: Verb) -> None:
    one = verb("plan budget", "from GPUs, days and a model to tokens and cost, or back, and how often that repeats each source of a pool", BUDGET_EXAMPLES)
    one.add_argument("--gpus", type=float, metavar="N")
    one.add_argument("--days", type=float, metavar="N", help="of wall-clock time")
    one.add_argument("--gpu-days", metavar="N", help="in place of both: a number, or phases such as 512x9.5+1024x35")
    one.add_argument("--tokens", type=_amount, metavar="N", help="of the run, e.g. 5.93e12, 6T, 150B or 2.5M")
    one.add_argument("--rate", type=_amount, metavar="TOKENS", help="a second of one GPU while it trains, e.g. 7700 or 7.7K")
    one.add_argument("--utilisation", type=float, metavar="SHARE", help="of the peak, in place of --rate; needs --model")
    one.add_argument("--uptime", type=float, metavar="SHARE", help="of the time in which it trains (default: what follows, or 1)")
    one.add_argument("--price", type=float, metavar="AMOUNT", help="of a GPU hour")
    one.add_argument("--cost", type=_amount, metavar="AMOUNT", help="of all GPU hours, e.g. 2.75M")
    one.add_argument("--model", metavar="SHAPE", help="a published size (7B), d=4096,layers=32,heads=32,kv_heads=32,ffn=11008, or a stage's YAML")
    one.add_argument("--vocab", type=_count, metavar="N", help="rows of its embedding (default: of a size or numbers 100352, of a stage those of its data)")
    one.add_argument("--context", type=_count, metavar="TOKENS", help="of a sequence (default: of a size or numbers 8192, of a stage those of its data)")
    one.add_argument("--peak", type=float, default=989.5e12, metavar="FLOPS", help="FLOP/s of one GPU (default: %(default)g, an H100 in bf16)")
    one.add_argument("--pool", metavar="POOL", help="a CSV with columns source and pool_tokens, or a dataset of packed shards of the env, e.g. shard/pool")
    one.add_argument("--shares", metavar="SHARES", help="web=0.8,code=0.2; a recipe, mix/pretrain; or a column of the CSV (default: as the pool is)")
    one.add_argument("--cap", type=float, default=7.0, metavar="REPEATS", help="most repeats of a source (default: %(default)g, Olmo 3 report, section 3.4.4)")
    one.add_argument("--cap-of", dest="caps", action="append", metavar="SOURCE=REPEATS", help="another cap for one source; may be given again")
    text = "repeats from which on it warns (default: %(default)g: up to 4 epochs are nearly worth new data, Muennighoff et al. 2023)"
    one.add_argument("--worth", type=float, default=4.0, metavar="REPEATS", help=text)
    one.add_argument("--format", choices=("table", "json"), default="table", help="form of the result on stdout")


def _looking(verb: Verb) -> None:
    """The verbs for who looks at data: stats, sql, inspect."""
    text = "print the funnel by source, lengths by source and tokens by cell; of one dataset: what its rules removed and what they cost"
    one = verb("stats", text, STATS_EXAMPLES)
    one.add_argument("dataset", nargs="?", help="e.g. source/web/filter")
    one.add_argument(
        "--what-if", metavar="REASON: WHERE", action="append", nargs="?", const="", help="run its steps again: what each rule takes, and would with this one"
    )
    one.add_argument("--limit", type=int, help="with --what-if: only so many units of its input, evenly spaced")
    one.add_argument("--save", action="store_true", help="with --what-if: keep every row's measures as the dataset measures/DATASET, for dolma sql")
    one = verb("sql", "query every dataset, manifest, ledger and metric with DuckDB SQL, read-only", SQL_EXAMPLES)
    one.add_argument("query", help='e.g. "SELECT source, count(*) FROM pool_documents GROUP BY 1"; SHOW TABLES lists the views')
    one.add_argument("--format", choices=("table", "csv", "json"), default="table", help="form of the result on stdout")
    one = verb("inspect", "print rows of a dataset, what it quarantined, or what it dropped")
    one.add_argument("dataset")
    one.add_argument("--where", metavar="SQL", help="only rows that meet this condition")
    what = one.add_mutually_exclusive_group()
    what.add_argument("--quarantined", action="store_true", help="rows that could not be read: file, offset, step, reason")
    what.add_argument("--dropped", metavar="REASON", help="documents that `keep` dropped for this reason, by running the recipe's steps again")
    one.add_argument("-n", "--limit", type=int, help="how many rows (default: 5)")
    one.add_argument("--columns", help="comma-separated: only these")
    one.add_argument("--width", type=int, help="characters of a value that are shown (default: 600; 0: all)")
    one.add_argument("--full", action="store_const", const=0, dest="width", help="the same as --width 0")
    one.add_argument("--format", choices=("text", "json"), help="form of the rows on stdout (default: text); json: one a line, whole")


def _mixing(verb: Verb) -> None:
    """The verb for who mixes data."""
    text = "say what a mix takes of its pool, how it differs from another, or what other parameters would give"
    one = verb("mix", text, MIX_EXAMPLES)
    one.add_argument("name", help="e.g. mix/pretrain")
    one.add_argument("--against", metavar="MIX", help="show the difference from this one (its columns: before)")
    how = "plan it with this parameter (writes nothing) and show the difference from the mix that is there; other shares keep their proportions"
    one.add_argument("--set", metavar="KEY=VALUE", action="append", help=how)
    one.add_argument("--by", choices=("source", "topic", "lang", "vigintile", "cell"), default="source", help="a line for each (default: source)")
    one.add_argument("--format", choices=("table", "csv", "json"), default="table", help="form of the result on stdout; shares are of 1 in csv and json")
    one.add_argument("--plot", type=Path, metavar="FILE", help="also draw it, as .html or .svg: shares, and repeats by topic and vigintile")


def _near(verb: Verb) -> None:
    text = "find the documents of a dataset that are near a text, by the Jaccard similarity of their word shingles"
    one = verb("near", text, NEAR_EXAMPLES)
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument("text", nargs="?", help="the text; - reads it from stdin")
    what.add_argument("--file", type=Path, help="read it from this file")
    one.add_argument("--in", dest="dataset", default="pool/unique", help="a dataset of documents (default: %(default)s)")
    one.add_argument("--threshold", type=float, default=0.5, metavar="JACCARD", help="smallest similarity (default: %(default)s)")
    one.add_argument("--top", type=_count, default=5, metavar="N", help="most documents for a text (default: %(default)s)")
    one.add_argument("--lines", action="store_true", help="each line is a text of its own")
    one.add_argument("--lsh", action="store_true", help="through a datasketch LSH index, made anew in memory: for thousands of --lines")
    one.add_argument("--bands", metavar="DATASET", help="through the band index of a large dataset (step index_bands), without one of signatures")
    one.add_argument("--shingle", type=_count, metavar="WORDS", help="words of a shingle (default: 5, or that of --bands)")
    one.add_argument("--format", choices=("table", "json"), default="table", help="form of the result on stdout; json: one document a line, whole")


def _amount(text: str) -> float:
    try:
        return amount(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more; write it out, such as 8192 (K may mean 1000 or 1024)")
    return value
