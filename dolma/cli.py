"""The command `dolma`. Each verb imports what it needs when it runs; data goes to stdout, log lines to stderr.

Exit codes: 0 done, 2 config, 3 data invariant broken, 4 environment, 5 partial but resumable, 130 interrupted; 1 is a fault of this program.
"""

import argparse
import os
import sys
from pathlib import Path

from dolma import arguments
from dolma.core.errors import ConfigError, DataError, DolmaError, EnvironmentFault, Errors
from dolma.core.log import logger, setup

log = logger("dolma.cli")
MOST_ERRORS = 20
FIRST, WIDTH = 5, 600  # rows that `inspect` prints, and characters of a value


def main(argv: list[str] | None = None) -> int:
    """Run one verb; the exit code."""
    args = arguments.parser(VERBS).parse_args(arguments.joined(sys.argv[1:] if argv is None else argv))
    from dolma.core.files import require_utf8  # its pydantic takes longer than all of `--help`

    setup(args.log)
    try:
        require_utf8()
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


def _env_file(args: argparse.Namespace) -> Path:
    given = Path(args.env)
    return given if given.suffix in (".yaml", ".yml") else args.pipelines / "env" / f"{args.env}.yaml"


def _place(args: argparse.Namespace, text: str) -> Path:
    """A path of an env: relative ones start at the project, which holds the pipelines folder."""
    return (args.pipelines.resolve().parent / text).resolve()


def _root(args: argparse.Namespace) -> Path:
    return _place(args, arguments.env(_env_file(args)).root)


def _raw(args: argparse.Namespace, mend: str) -> Path:
    """The env's raw folder, to write into."""
    from dolma.io.raw import is_url, redacted

    env = arguments.env(_env_file(args))
    if env.raw.startswith("$") or is_url(env.raw):
        raise ConfigError(str(_env_file(args)), "its raw folder is given from outside", got=redacted(env.raw), expected="a folder", mend=mend)
    return _place(args, env.raw)


def _refuse(args: argparse.Namespace, when: str, mend: str, **options: str) -> None:
    """Say that options (by the name of their value) have no effect `when`, if any of them was given."""
    if given := ", ".join(option for name, option in options.items() if getattr(args, name) is not None and getattr(args, name) is not False):
        raise ConfigError(args.verb.__name__.removeprefix("_"), f"{given} {when} has no effect", got=given, expected=f"nothing {when}", mend=mend)


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
    from dolma.console import table
    from dolma.engines import fit, sizes
    from dolma.runner import Run

    run = Run(_env_file(args), args.pipelines)
    lines = run.plan(args.targets)
    header, rows = ["dataset", "state", "reason"], [[line.dataset, line.state, line.reason] for line in lines]
    if legend := fit.legend((line.size for line in lines), run.room()):
        header, rows = [*header, *sizes.HEADER], [[*row, *sizes.cells(line.size)] for row, line in zip(rows, lines, strict=True)]
    print(table(header, rows, right=sizes.HEADER))
    if legend:
        log.info("%s", legend)
    for doubt in (doubt for line in lines for doubt in line.doubts):
        log.warning("%s", doubt)
    fit.refuse([fault for line in lines for fault in line.faults])


def _budget(args: argparse.Namespace) -> None:
    from dolma.mix import afford

    root = _root(args) if afford.reads_datasets(vars(args)) else None
    found = afford.answer(vars(args), root, args.pipelines)
    if args.format == "json":
        import json

        print(json.dumps(afford.as_dict(found), ensure_ascii=False))
    else:
        print(afford.text(found))
    for warning in found.warnings:
        log.warning("%s", warning)


def _run(args: argparse.Namespace) -> None:
    from dolma import runner

    made = runner.run(args.targets, _env_file(args), pipelines=args.pipelines, force=args.force)
    log.info("%s", f"{made} made" if made else "everything is fresh")


def _swarm(args: argparse.Namespace) -> None:
    from dolma.console import table
    from dolma.swarm import run

    if args.proposal:
        print(run.block(run.proposed(_root(args), Path(args.name).stem)), end="")
        return
    swarm = run.Swarming(args.name, _env_file(args), args.pipelines)
    if args.plan:
        look = swarm.outlook()
        print(table(["what", "value"], look.rows()))
        print(f"\n{table(['domain', 'tokens', 'natural share'], [[name, swarm.tokens_of(name), share] for name, share in look.domains.items()])}")
        return
    found = swarm.run()
    for one in (found.as_table(), found.tasks_table()):
        print(table(one.column_names, [list(row.values()) for row in one.to_pylist()]), end="\n\n")
    print(run.block(run.proposed(swarm.root, swarm.name)), end="")


def _stats(args: argparse.Namespace) -> None:
    from dolma import costs, stats
    from dolma.console import table

    root = _root(args)
    if args.what_if is None:
        _refuse(args, "without --what-if", "dolma stats source/web/filter --what-if", save="--save", limit="--limit")
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
    found = stats.all_lengths(root, known)
    for (column, dataset), lines in found.items():
        print(f"\n{column} of {dataset}\n{table(lines.column_names, [list(row.values()) for row in lines.to_pylist()])}")
    if found:
        print("\n" + "\n".join(stats.sentences(found)))
    if spent := costs.by_dataset(known, costs.measured(root, known)):
        print(f"\nCPU of the runs that made them\n{table(costs.BY_DATASET, spent)}")
    for manifest in known.values():
        if manifest.format == "mds" and (cells := stats.cells(manifest)):
            body = [[c.source, c.topic or None, c.vigintile, c.sequences, c.tokens] for c in cells]
            print(f"\ncells of {manifest.dataset}\n{table(['source', 'topic', 'vigintile', 'sequences', 'tokens'], body)}")


def _dataset_stats(args: argparse.Namespace, root: Path) -> None:
    from dolma import costs, rules
    from dolma.core import manifest
    from dolma.replay import replay

    if not args.dataset:
        raise ConfigError("stats", "--what-if needs a dataset", got="none", expected="its name", mend="dolma stats source/web/filter --what-if")
    if args.what_if is None:
        print(costs.text(root, manifest.at(root, args.dataset)))
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
    from dolma.console import records, table

    found = sql.query(_root(args), args.query)
    rows = zip(*(column.to_pylist() for column in found.columns), strict=True)
    print(f"{table(found.column_names, rows)}\n" if args.format == "table" else records(found.column_names, rows, args.format), end="")


def _mix(args: argparse.Namespace) -> None:
    from dolma import mixes
    from dolma.console import records, table

    shown = mixes.shown(_root(args), args.name, args.against, args.set or (), _env_file(args), args.pipelines)
    made = mixes.summary(shown[0], args.by) if len(shown) == 1 else mixes.difference(shown[0], shown[1], args.by)
    if args.plot:
        from dolma.report.mixes import write

        log.info("%s", write(args.plot, shown, args.by))
    if args.format == "table":
        header, rows = mixes.lines(made)
        print(table(header, rows, right=header[len([name for name in header if name in mixes.BY["cell"]]) :]))
    else:
        print(records(made.column_names, zip(*(column.to_pylist() for column in made.columns), strict=True), args.format), end="")


def _inspect(args: argparse.Namespace) -> None:
    from dolma import browse
    from dolma.console import table
    from dolma.core import manifest

    root = _root(args)
    columns = args.columns.split(",") if args.columns else None
    if args.quarantined:
        mend = 'dolma sql "SELECT * FROM quarantine WHERE ... LIMIT 5" --format json'
        _refuse(args, "with --quarantined", mend, where="--where", columns="--columns", limit="--limit", format="--format", width="--width")
        aside = browse.quarantined(root, manifest.at(root, args.dataset))
        print(table(["file", "offset", "id", "step", "reason"], [[r.file, r.offset, r.id, r.step, r.reason] for r in aside]))
        return
    limit, width = FIRST if args.limit is None else args.limit, WIDTH if args.width is None else args.width
    if args.dropped:
        found = browse.dropped(args.dataset, args.dropped, _env_file(args), args.pipelines, limit, args.where, columns)
        rows = [{"dropped_as": one.rule.reason, "where": one.rule.where, **one.row} for one in found]
        blocks = [browse.why(one, width) for one in found]
    else:
        rows = browse.first(root, args.dataset, limit, args.where, columns)
        blocks = [browse.show(row, width) for row in rows]
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


def _near(args: argparse.Namespace) -> None:
    from dolma import near
    from dolma.console import table

    root = _root(args)
    given = near.read(args.file) if args.file else sys.stdin.read() if args.text == "-" else args.text
    texts = [line for line in given.splitlines() if line.strip()] if args.lines and given.strip() else [given]
    if args.bands:
        _refuse(args, "with --bands", "leave it out: a band index has its own", shingle="--shingle", lsh="--lsh")
    index = near.bands_of(root, args.dataset, args.bands) if args.bands else near.signatures_of(root, args.dataset, args.shingle or near.SHINGLE)
    found = near.near(root, args.dataset, texts, index, threshold=args.threshold, top=args.top, lsh=args.lsh)
    if args.format == "json":
        import json

        for number, one in ((n, one) for n, ones in enumerate(found, 1) for one in ones):
            print(json.dumps({"text_number": number, "jaccard": round(one.jaccard, 6), **one.document}, default=str, ensure_ascii=False))
    elif any(found):
        names = ["jaccard", "id", "source", "where", "begins"]
        rows = [[n, *near.line(one)] for n, ones in enumerate(found, 1) for one in ones]
        print(table(["text", *names], rows) if args.lines else table(names, [row[1:] for row in rows]))
    if not any(found):
        log.info("%s", f"nothing in {args.dataset} has a Jaccard similarity of {args.threshold:g} or more")


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
    from dolma import served, stats
    from dolma.console import size, table
    from dolma.verify import verify

    root = _root(args)
    names = args.datasets or sorted(stats.datasets(root))
    if not names:
        raise DataError(str(root), "there is nothing to verify", got="0 manifests", expected="at least 1", mend=f"dolma run --env {args.env}")
    verdicts = [verify(root, name) for name in names]
    print(table(["dataset", "files", "bytes", "state"], [[v.dataset, v.files, size(v.bytes), "broken" if v.errors else "ok"] for v in verdicts]))
    for v in verdicts:
        if v.served:
            print(f"\nsequences that {v.dataset} served\n{table(served.HEADER, served.rows(v.served, streams=args.streams))}")
    errors = [error for verdict in verdicts for error in verdict.errors]
    if len(errors) > MOST_ERRORS:
        log.error("%s", f"{len(errors):,} errors; the first {MOST_ERRORS}:")
    if errors:
        raise errors[0] if len(errors) == 1 else Errors(errors[:MOST_ERRORS])


def _steps(args: argparse.Namespace) -> None:
    from dolma import console
    from dolma.engines.plan import described

    lines, header, rows = described(args.name)
    print("".join(f"{line}\n\n" for line in lines) + console.table(header, rows))


def _doctor(args: argparse.Namespace) -> None:
    from dolma.console import table
    from dolma.doctor import findings

    env = arguments.env(_env_file(args))
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


VERBS = {
    "gather": _gather,
    "fetch": _fetch,
    "plan": _plan,
    "plan budget": _budget,
    "run": _run,
    "swarm": _swarm,
    "stats": _stats,
    "sql": _sql,
    "inspect": _inspect,
    "mix": _mix,
    "compare": _compare,
    "near": _near,
    "trace": _trace,
    "report": _report,
    "publish": _publish,
    "verify": _verify,
    "steps": _steps,
    "doctor": _doctor,
}


if __name__ == "__main__":
    sys.exit(main())
