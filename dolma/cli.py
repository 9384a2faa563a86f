"""The command `dolma`. Each verb imports what it needs when it runs; data goes to stdout, log lines to stderr.

Exit codes: 0 done, 2 config, 3 data invariant broken, 4 environment, 5 partial but resumable, 130 interrupted; 1 is a fault of this program.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from dolma.core.config import Env, read_yaml
from dolma.core.errors import ConfigError, DataError, DolmaError, EnvironmentFault, Errors
from dolma.core.log import logger, setup

log = logger("dolma.cli")
MOST_ERRORS = 20
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


def main(argv: list[str] | None = None) -> int:
    """Run one verb; the exit code."""
    args = _parser().parse_args(argv)
    setup(args.log)
    try:
        args.verb(args)
        sys.stdout.flush()
    except DolmaError as error:
        log.error("%s", error)
        return error.code
    except KeyboardInterrupt:
        log.error("interrupted; what is finished is kept, and the same command resumes")
        return 130
    except BrokenPipeError:  # the reader of a pipe (head, less) has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _looking(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """The verbs for who looks at data: stats, sql, inspect."""
    text = "print the funnel by source, lengths by source and tokens by cell; of one dataset: what its rules removed and what they cost"
    one = verb("stats", _stats, text, STATS_EXAMPLES)
    one.add_argument("dataset", nargs="?", help="e.g. source/web/filter")
    one.add_argument(
        "--what-if", metavar="REASON: WHERE", action="append", nargs="?", const="", help="run its steps again: what each rule takes, and would with this one"
    )
    one.add_argument("--limit", type=int, help="with --what-if: only so many units of its input, evenly spaced")
    one.add_argument("--save", action="store_true", help="with --what-if: keep every row's measures as the dataset measures/DATASET, for dolma sql")
    one = verb("sql", _sql, "query every dataset, manifest, ledger and metric with DuckDB SQL, read-only", SQL_EXAMPLES)
    one.add_argument("query", help='e.g. "SELECT source, count(*) FROM pool_documents GROUP BY 1"; SHOW TABLES lists the views')
    one.add_argument("--format", choices=("table", "csv", "json"), default="table", help="form of the result on stdout")
    one = verb("inspect", _inspect, "print rows of a dataset, what it quarantined, or what it dropped")
    one.add_argument("dataset")
    one.add_argument("--where", metavar="SQL", help="only rows that meet this condition")
    what = one.add_mutually_exclusive_group()
    what.add_argument("--quarantined", action="store_true", help="rows that could not be read: file, offset, step, reason")
    what.add_argument("--dropped", metavar="REASON", help="documents that `keep` dropped for this reason, by running the recipe's steps again")
    one.add_argument("-n", "--limit", type=int, default=5, help="how many rows (default: 5)")
    one.add_argument("--columns", help="comma-separated")
    one.add_argument("--width", type=int, default=600, help="characters of a value that are shown (0: all)")
    one.add_argument("--full", action="store_const", const=0, dest="width", help="the same as --width 0")
    one.add_argument("--format", choices=("text", "json"), default="text", help="form of the rows on stdout; json: one a line, whole")


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--env", default="tiny", help="name of a file in pipelines/env, or a YAML file (default: tiny)")
    common.add_argument("--pipelines", type=Path, default=Path("pipelines"), help="folder of the recipes (default: pipelines)")
    common.add_argument("--log", choices=("text", "json"), default="text", help="form of the log lines on stderr")
    parser = argparse.ArgumentParser(prog="dolma", description="From raw pages to training shards: one flow, every number with one cause.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, fn: object, text: str, examples: str = "") -> argparse.ArgumentParser:
        form = argparse.RawDescriptionHelpFormatter
        made = verbs.add_parser(name, parents=[common], help=text, description=text, epilog=examples, formatter_class=form)
        made.set_defaults(verb=fn)
        return made

    one = verb("gather", _gather, "make a raw corpus from this machine, offline, in the env's raw folder")
    one.add_argument("folder", nargs="?", type=Path, help="where (default: the env's raw folder)")
    one.add_argument("--seed", type=int, help="seed of what is generated")
    one.add_argument("--size", help="how much: tiny (default) or mini")
    one = verb("fetch", _fetch, "download archives of a crawl, resumed and checked; a recipe reads them from the env's raw folder")
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
    one = verb("plan", _plan, "say what a run would do; writes nothing")
    one.add_argument("targets", nargs="*", default=["."], help="datasets, folders or files of the pipelines (default: all)")
    one = verb("run", _run, "make every stale dataset and stage among the targets and what they need")
    one.add_argument("targets", nargs="*", default=["."], help="datasets, folders or files of the pipelines (default: all)")
    one.add_argument("--force", action="store_true", help="make them again although they are fresh")
    _looking(verb)
    one = verb("compare", _compare, "score HTML extractors on pages whose main text is known")
    one.add_argument("pages", type=Path, help="JSONL of {id, text} and the page: html, file, or warc and warc_record_id (files beside it)")
    one.add_argument("--extractors", default="resiliparse,resiliparse-main,trafilatura", help="comma-separated (default: %(default)s)")
    one.add_argument("-n", type=int, default=10, help="how many pages on which the first does worst (default: 10)")
    one.add_argument("--page", metavar="ID", help="print the known text of one page and those of the extractors side by side")
    one.add_argument("--width", type=int, default=160, help="characters of a line of --page (default: 160)")
    one = verb("trace", _trace, "name the documents inside a packed sequence")
    one.add_argument("dataset", help="e.g. shard/pool")
    one.add_argument("stream", help="e.g. web/science/18")
    one.add_argument("sequence", type=int, help="index in the stream, from 0")
    one = verb("report", _report, "write one HTML file with the funnel, cells, mixes, curves and held-out figures")
    one.add_argument("--out", type=Path, help="the file (default: report.html in the env's root)")
    one.add_argument("--title", help="heading of the page")
    one = verb("publish", _publish, "write a mix as MosaicML shards, or documents in the layout of the Dolma toolkit")
    one.add_argument("dataset", help="a mix, e.g. mix/pretrain, or documents, e.g. pool/unique")
    one.add_argument("out", type=Path, help="a folder that does not exist yet")
    one.add_argument("--seed", type=int, default=0, help="seed of which sequences get one copy more")
    one = verb("verify", _verify, "hash every file again and check every ledger against the manifests")
    one.add_argument("datasets", nargs="*", help="default: all")
    one = verb("steps", _steps, "list the steps that recipes may use, or describe one")
    one.add_argument("name", nargs="?")
    verb("doctor", _doctor, "say what this machine has, what is missing, and how to get it")
    return parser


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _env_file(args: argparse.Namespace) -> Path:
    given = Path(args.env)
    return given if given.suffix in (".yaml", ".yml") else args.pipelines / "env" / f"{args.env}.yaml"


def _place(args: argparse.Namespace, text: str) -> Path:
    """A path of an env: relative ones start at the project, which holds the pipelines folder."""
    return (args.pipelines.resolve().parent / text).resolve()


def _root(args: argparse.Namespace) -> Path:
    return _place(args, read_yaml(_env_file(args), Env).root)


def _raw(args: argparse.Namespace, mend: str) -> Path:
    """The env's raw folder, to write into."""
    from dolma.io.raw import is_url, redacted

    env = read_yaml(_env_file(args), Env)
    if env.raw.startswith("$") or is_url(env.raw):
        raise ConfigError(str(_env_file(args)), "its raw folder is given from outside", got=redacted(env.raw), expected="a folder", mend=mend)
    return _place(args, env.raw)


def _gather(args: argparse.Namespace) -> None:
    from dolma.console import table
    from dolma.gather.run import gather

    folder = args.folder or _raw(args, "name the folder")
    options = {name: value for name in ("seed", "size") if (value := getattr(args, name)) is not None}
    counts = gather(folder, report=lambda line: log.info("%s", line), **options)
    print(table(["what", "rows"], list(counts.items())))


def _fetch(args: argparse.Namespace) -> None:
    from dolma.fetch import commoncrawl
    from dolma.fetch.http import Patience

    out = args.out or _raw(args, "name the folder: --out") / "web"
    patience = Patience(attempts=args.attempts, timeout=args.timeout)
    options = {"base": args.base or commoncrawl.BASE, "spread": args.spread, "workers": args.workers, "patience": patience}
    done = commoncrawl.fetch(args.crawl, args.kind, args.limit, out, **options)
    log.info("%s", f"{done.new:,} files fetched, {done.there:,} were there")
    print(done.folder)


def _plan(args: argparse.Namespace) -> None:
    from dolma import runner
    from dolma.console import table

    lines = runner.plan(args.targets, _env_file(args), pipelines=args.pipelines)
    print(table(["dataset", "state", "reason"], [[line.dataset, line.state, line.reason] for line in lines]))


def _run(args: argparse.Namespace) -> None:
    from dolma import runner

    made = runner.run(args.targets, _env_file(args), pipelines=args.pipelines, force=args.force)
    log.info("%s", f"{made} made" if made else "everything is fresh")


def _stats(args: argparse.Namespace) -> None:
    from dolma import costs, stats
    from dolma.console import table

    root = _root(args)
    if args.dataset or args.what_if is not None:
        _dataset_stats(args, root)
        return
    known = stats.datasets(root)
    if not known:
        raise DataError(str(root), "no dataset is finished", got="0 manifests", expected="at least 1", mend=f"dolma run --env {args.env}")
    rows: list[list[object]] = []
    for funnel in stats.funnels(root, known):
        rows.append([funnel.source, "documents in", "", funnel.documents_in])
        rows += [[funnel.source, loss.reason, loss.dataset, -loss.documents] for loss in funnel.losses]
        rows.append([funnel.source, "documents out", "", funnel.out])
    print(table(["source", "what", "at", "documents"], rows))
    for dataset, column in (("pool/documents", "n_bytes"), ("pool/tokens", "n_tokens")):
        if dataset in known and column in stats.columns(root, known[dataset]):
            lines = stats.lengths(root, dataset, column)
            print(f"\n{column} of {dataset}\n{table(lines.column_names, [list(row.values()) for row in lines.to_pylist()])}")
    if spent := costs.by_dataset(known, costs.measured(root, known)):
        print(f"\nCPU of the runs that made them\n{table(costs.BY_DATASET, spent)}")
    for manifest in known.values():
        if manifest.format == "mds" and (cells := stats.cells(manifest)):
            body = [[c.source, c.topic, c.vigintile, c.sequences, c.tokens] for c in cells]
            print(f"\ncells of {manifest.dataset}\n{table(['source', 'topic', 'vigintile', 'sequences', 'tokens'], body)}")


def _dataset_stats(args: argparse.Namespace, root: Path) -> None:
    from dolma import costs, rules
    from dolma.core import manifest
    from dolma.replay import replay

    if not args.dataset:
        raise ConfigError("stats", "--what-if needs a dataset", got="none", expected="its name", mend="dolma stats source/web/filter --what-if")
    if args.what_if is None:
        print(costs.text(root, manifest.load(root / args.dataset)))
        return
    with replay(args.dataset, _env_file(args), args.pipelines, args.limit) as again:
        found = rules.weigh(again, [text for text in args.what_if if text], root if args.save else None)
    print(rules.text(found))
    if args.save:
        from dolma.sql import view

        name = view(f"{rules.MEASURES}/{args.dataset}")
        log.info("%s", f'saved as the view {name}: dolma sql "SELECT fails, count(*) AS n FROM {name} GROUP BY 1 ORDER BY 2 DESC LIMIT 20"')


def _sql(args: argparse.Namespace) -> None:
    from dolma import sql
    from dolma.console import table

    found = sql.query(_root(args), args.query)
    if args.format == "table":
        print(table(found.column_names, zip(*(column.to_pylist() for column in found.columns), strict=True)))
    elif args.format == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in found.columns), strict=True))
    else:
        import json

        for row in found.to_pylist():
            print(json.dumps(row, default=str, ensure_ascii=False))


def _inspect(args: argparse.Namespace) -> None:
    from dolma import browse
    from dolma.console import table
    from dolma.core import manifest

    root = _root(args)
    columns = args.columns.split(",") if args.columns else None
    if args.quarantined and args.where:
        mend = 'dolma sql "SELECT * FROM quarantine WHERE ..."'
        raise ConfigError("inspect", "--where is of rows and dropped documents", got="--quarantined", expected="one of the two", mend=mend)
    if args.quarantined:
        aside = browse.quarantined(root, manifest.load(root / args.dataset))
        print(table(["file", "offset", "id", "step", "reason"], [[r.file, r.offset, r.id, r.step, r.reason] for r in aside]))
        return
    if args.dropped:
        found = browse.dropped(args.dataset, args.dropped, _env_file(args), args.pipelines, args.limit, args.where)
        rows = [{"dropped_as": one.rule.reason, "where": one.rule.where, **one.row} for one in found]
        blocks = [browse.why(one, args.width, columns) for one in found]
    else:
        rows = browse.first(root, args.dataset, args.limit, args.where, columns)
        blocks = [browse.show(row, args.width) for row in rows]
    if not rows:
        log.info("no such row")
        return
    print("\n".join(map(browse.as_json, rows)) if args.format == "json" else "\n\n".join(blocks))


def _compare(args: argparse.Namespace) -> None:
    from dolma import compare
    from dolma.console import table

    names = args.extractors.split(",")
    pages = compare.known_pages(args.pages)
    if args.page:
        found = [page for page in pages if page.id == args.page]
        if not found:
            raise ConfigError("--page", f"no page `{args.page}`", got=args.page, expected=f"one of {len(pages)}", mend="leave it out to see ids")
        scores = [compare.score(found, name)[0] for name in names]
        titles = ["known text", *(f"{name}: F1 {one.f1:.3f}" for name, one in zip(names, scores, strict=True))]
        print(compare.side_by_side(titles, [found[0].text, *(one.text or one.error or "" for one in scores)], args.width))
        return
    columns = [compare.score(pages, name) for name in names]
    print(table(compare.SUMMARY, [compare.summary(name, column) for name, column in zip(names, columns, strict=True)]))
    print(f"\nF1 where {names[0]} does worst\n{table(['page', *names], compare.worst(columns, args.n))}")


def _trace(args: argparse.Namespace) -> None:
    from dolma.console import table
    from dolma.trace import trace

    pieces = trace(_root(args), args.dataset, args.stream, args.sequence)
    names = ["id", "source", "url", "file", "offset"]
    print(table(["start", "tokens", *names], [[p.start, p.tokens, *(p.document.get(name) for name in names)] for p in pieces]))


def _report(args: argparse.Namespace) -> None:
    from dolma.report.build import build

    root = _root(args)
    title = args.title or f"dolma-flow: {_env_file(args).stem}"
    print(build(root, args.out or root / "report.html", title, _place(args, "benchmarks/results.json")))


def _publish(args: argparse.Namespace) -> None:
    from dolma.publish import publish

    written = publish(_root(args), args.dataset, args.out, seed=args.seed)
    log.info("%s", f"{written.rows:,} {written.what}, {written.tokens:,} tokens")
    print(args.out)


def _verify(args: argparse.Namespace) -> None:
    from dolma import stats
    from dolma.console import size, table
    from dolma.verify import verify

    root = _root(args)
    names = args.datasets or sorted(stats.datasets(root))
    if not names:
        raise DataError(str(root), "there is nothing to verify", got="0 manifests", expected="at least 1", mend=f"dolma run --env {args.env}")
    verdicts = [verify(root, name) for name in names]
    print(table(["dataset", "files", "bytes", "state"], [[v.dataset, v.files, size(v.bytes), "broken" if v.errors else "ok"] for v in verdicts]))
    errors = [error for verdict in verdicts for error in verdict.errors]
    if len(errors) > MOST_ERRORS:
        log.error("%s", f"{len(errors):,} errors; the first {MOST_ERRORS}:")
    if errors:
        raise errors[0] if len(errors) == 1 else Errors(errors[:MOST_ERRORS])


def _steps(args: argparse.Namespace) -> None:
    from dolma.console import table
    from dolma.core.step import REGISTRY
    from dolma.engines.plan import load_steps

    load_steps()
    if args.name is None:
        found = sorted(REGISTRY.values(), key=lambda one: (one.kind, one.name))
        print(table(["step", "kind", "version", "what it gives"], [[one.name, one.kind, one.version, one.doc.partition("\n")[0]] for one in found]))
        return
    if args.name not in REGISTRY:
        from difflib import get_close_matches

        near = get_close_matches(args.name, REGISTRY, n=1)
        mend = f"did you mean `{near[0]}`?" if near else "`dolma steps` lists them"
        raise ConfigError("steps", f"unknown step `{args.name}`", got=args.name, expected=f"one of {len(REGISTRY)}", mend=mend)
    one = REGISTRY[args.name]
    print(f"{one.name}  ({one.kind}, version {one.version})\n\n{one.doc}\n")
    fields = one.params.model_fields.items()
    rows = [[name, getattr(f.annotation, "__name__", str(f.annotation)), "required" if f.is_required() else repr(f.default)] for name, f in fields]
    print(table(["parameter", "type", "default"], rows))


def _doctor(args: argparse.Namespace) -> None:
    from dolma.console import table
    from dolma.doctor import findings

    env = read_yaml(_env_file(args), Env)
    kit = os.environ.get("DOLMA_DATA")
    found = findings(env.engine, _place(args, env.root), Path(kit) if kit else None)
    state = {f.what: "ok" if f.ok else "missing" if f.required else "optional" for f in found}
    print(table(["what", "found", "needed", "for", "state"], [[f.what, f.found, f.needed, f.needed_by, state[f.what]] for f in found]))
    for finding in found:
        if not finding.ok:
            print(f"{finding.what}: {finding.mend}")
    lacking = [f for f in found if f.required and not f.ok]
    if lacking:
        names = ", ".join(f.what for f in lacking)
        raise EnvironmentFault("doctor", f"{len(lacking)} required things are missing or too old", got=names, expected="all of them", mend=lacking[0].mend)


if __name__ == "__main__":
    sys.exit(main())
