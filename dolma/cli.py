"""The command `dolma`. Each verb imports what it needs when it runs; data goes to stdout, log lines to stderr.

Exit codes: 0 done, 2 config, 3 data invariant broken, 4 environment, 5 partial but resumable, 130 interrupted; 1 is a fault of this program.
"""

import argparse
import os
import sys
from pathlib import Path

from dolma.core.config import Env, read_yaml
from dolma.core.errors import ConfigError, DataError, DolmaError, EnvironmentFault, Errors
from dolma.core.log import logger, setup

log = logger("dolma.cli")
MOST_ERRORS = 20


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


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--env", default="tiny", help="name of a file in pipelines/env, or a YAML file (default: tiny)")
    common.add_argument("--pipelines", type=Path, default=Path("pipelines"), help="folder of the recipes (default: pipelines)")
    common.add_argument("--log", choices=("text", "json"), default="text", help="form of the log lines on stderr")
    parser = argparse.ArgumentParser(prog="dolma", description="From raw pages to training shards: one flow, every number with one cause.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, fn: object, text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, parents=[common], help=text, description=text)
        made.set_defaults(verb=fn)
        return made

    one = verb("gather", _gather, "make a raw corpus from this machine, offline, in the env's raw folder")
    one.add_argument("folder", nargs="?", type=Path, help="where (default: the env's raw folder)")
    one.add_argument("--seed", type=int, help="seed of what is generated")
    one.add_argument("--size", help="how much: tiny (default) or mini")
    one = verb("plan", _plan, "say what a run would do; writes nothing")
    one.add_argument("targets", nargs="*", default=["."], help="datasets, folders or files of the pipelines (default: all)")
    one = verb("run", _run, "make every stale dataset and stage among the targets and what they need")
    one.add_argument("targets", nargs="*", default=["."], help="datasets, folders or files of the pipelines (default: all)")
    one.add_argument("--force", action="store_true", help="make them again although they are fresh")
    verb("stats", _stats, "print the funnel by source, lengths by source and tokens by cell")
    one = verb("sql", _sql, "query every dataset, manifest, ledger and metric with DuckDB SQL, read-only")
    one.add_argument("query", help='e.g. "SELECT source, count(*) FROM pool_documents GROUP BY 1"; SHOW TABLES lists the views')
    one.add_argument("--format", choices=("table", "csv", "json"), default="table", help="form of the result on stdout")
    one = verb("inspect", _inspect, "print rows of a dataset, what it quarantined, or what it dropped")
    one.add_argument("dataset")
    what = one.add_mutually_exclusive_group()
    what.add_argument("--where", metavar="SQL", help="only rows that meet this condition")
    what.add_argument("--quarantined", action="store_true", help="rows that could not be read: file, offset, step, reason")
    what.add_argument("--dropped", metavar="REASON", help="documents that `keep` dropped for this reason, by running the recipe's steps again")
    one.add_argument("-n", type=int, default=5, help="how many rows (default: 5)")
    one.add_argument("--columns", help="comma-separated")
    one.add_argument("--width", type=int, default=600, help="characters of a value that are shown (0: all)")
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


def _env_file(args: argparse.Namespace) -> Path:
    given = Path(args.env)
    return given if given.suffix in (".yaml", ".yml") else args.pipelines / "env" / f"{args.env}.yaml"


def _place(args: argparse.Namespace, text: str) -> Path:
    """A path of an env: relative ones start at the project, which holds the pipelines folder."""
    return (args.pipelines.resolve().parent / text).resolve()


def _root(args: argparse.Namespace) -> Path:
    return _place(args, read_yaml(_env_file(args), Env).root)


def _gather(args: argparse.Namespace) -> None:
    from dolma.console import table
    from dolma.gather.run import gather

    folder = args.folder
    if folder is None:
        env = read_yaml(_env_file(args), Env)
        if env.raw.startswith("$"):
            raise ConfigError(str(_env_file(args)), "its raw folder is given from outside", got=env.raw, expected="a folder", mend="name the folder")
        folder = _place(args, env.raw)
    options = {name: value for name in ("seed", "size") if (value := getattr(args, name)) is not None}
    counts = gather(folder, report=lambda line: log.info("%s", line), **options)
    print(table(["what", "rows"], list(counts.items())))


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
    from dolma import stats
    from dolma.console import table

    root = _root(args)
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
    for manifest in known.values():
        if manifest.format == "mds" and (cells := stats.cells(manifest)):
            body = [[c.source, c.topic, c.vigintile, c.sequences, c.tokens] for c in cells]
            print(f"\ncells of {manifest.dataset}\n{table(['source', 'topic', 'vigintile', 'sequences', 'tokens'], body)}")


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
    if args.quarantined:
        rows = list(browse.quarantined(root, manifest.load(root / args.dataset)))
        print(table(["file", "offset", "id", "step", "reason"], [[r.file, r.offset, r.id, r.step, r.reason] for r in rows]))
        return
    if args.dropped:
        found = browse.dropped(args.dataset, args.dropped, _env_file(args), args.pipelines, args.n)
    else:
        found = browse.first(root, args.dataset, args.n, args.where, columns)
    if not found:
        log.info("no such row")
        return
    print("\n\n".join(browse.show(row if columns is None else {c: row.get(c) for c in columns}, args.width) for row in found))


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
