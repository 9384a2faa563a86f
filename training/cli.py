"""The command line `dolma-train`."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dolma.core import manifest as manifests
from dolma.core.config import Env, read_yaml
from dolma.core.errors import ConfigError, DolmaError
from dolma.core.log import setup
from training.config import read_stage
from training.plan import Plan, name_of, plan


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 2 config, 3 data, 4 environment, 130 interrupted."""
    options = _parser().parse_args(arguments)
    setup("json" if options.log == "json" else "text")
    try:
        options.command(options)
    except DolmaError as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("interrupted: the same command resumes at the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dolma-train", description="Train, evaluate, average and export the stages of a flow.")
    parser.add_argument("--log", choices=("text", "json"), default="text", help="form of the log lines on stderr")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, call: Any, help_: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help_, description=help_)
        made.set_defaults(command=call)
        made.add_argument("--root", type=Path, help="folder of all datasets; of the env when absent")
        made.add_argument("--env", help="in place of --root: name of a file in pipelines/env, or a YAML file")
        return made

    for name, call, help_ in (("run", _run, "Train a stage; does nothing when it is fresh."), ("plan", _plan, "Say what stages would do; writes nothing.")):
        made = command(name, call, help_)
        made.add_argument("stage", type=Path, nargs="+" if name == "plan" else None, help="stage file")
        made.add_argument("--seed", type=int, help="in place of both seeds of the file")
        made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the file, such as data.manifest=mix/web_only")
        made.add_argument("--out", help="dataset to write; the path of the stage file below `pipelines` when absent")
        if name == "run":
            made.add_argument("--again", action="store_true", help="train even when it is fresh")
        else:
            made.add_argument("--json", action="store_true", help="one JSON object a line")
    command("many", _many, "Train many runs in one process: on stdin one JSON object a line, {stage: as in its YAML, out: dataset}.")
    made = command("evaluate", _evaluate, "Take figures of a run, as a stage file lists them.")
    made.add_argument("run", help="dataset of the run")
    made.add_argument("--stage", type=Path, required=True, help="stage file whose `evaluate` is taken")
    made.add_argument("--checkpoint", help="such as ba000160; the last one when absent")
    made = command("average", _average, "Write the mean of checkpoints as a run of its own.")
    made.add_argument("checkpoints", nargs="+", help="RUN (its last checkpoint) or RUN/checkpoints/baNNNNNN")
    made.add_argument("--out", required=True, help="dataset to write")
    made = command("export", _export, "Write a run in the format of transformers' Olmo3ForCausalLM, checked by its logits.")
    made.add_argument("run", help="dataset of the run")
    made.add_argument("--to", type=Path, required=True, help="folder to write")
    made.add_argument("--checkpoint", help="such as ba000160; the last one when absent")
    return parser


def _root(options: argparse.Namespace) -> Path:
    if options.root is None and options.env is None:
        raise ConfigError("dolma-train", "no root given", expected="--root DIR or --env FILE", mend="add one")
    if options.root is not None:
        return options.root.resolve()
    named = Path(options.env)
    path = (named if named.suffix in (".yaml", ".yml") else Path("pipelines/env") / f"{options.env}.yaml").resolve()
    base = path.parents[2] if path.parts[-3:-1] == ("pipelines", "env") else Path.cwd()  # a relative root begins at the project
    return (base / read_yaml(path, Env).root).resolve()


def _resolved(options: argparse.Namespace, path: Path) -> Plan:
    stage, value = read_stage(path, seed=options.seed, changes=options.set)
    return plan(stage, value, _root(options), options.out or name_of(path))


def _run(options: argparse.Namespace) -> None:
    from training.run import run

    run(_resolved(options, options.stage), again=options.again)


def _plan(options: argparse.Namespace) -> None:
    for path in options.stage:
        summary = _resolved(options, path).summary()
        print(json.dumps(summary) if options.json else "\n".join(f"{key:12} {value}" for key, value in summary.items()) + "\n")


def _many(options: argparse.Namespace) -> None:
    from training.many import train

    train(_root(options), sys.stdin)


def _at(run: Path, checkpoint: str | None) -> Path | None:
    return None if checkpoint is None else run / "checkpoints" / checkpoint


def _evaluate(options: argparse.Namespace) -> None:
    from training import checkpoint
    from training.evaluate.registry import evaluate
    from training.tokens import Tokenizer

    root = _root(options)
    run = root / options.run
    manifests.load(run)
    model, tokenizer = checkpoint.load(run, _at(run, options.checkpoint)), Tokenizer.load(run / "tokenizer.json")
    for item in read_stage(options.stage)[0].evaluate:
        for row in evaluate(item, model, tokenizer, root):
            print(json.dumps(asdict(row)))


def _average(options: argparse.Namespace) -> None:
    from training.average import write

    root = _root(options)
    write(root, [root / name for name in options.checkpoints], options.out)


def _export(options: argparse.Namespace) -> None:
    from training.export import export

    run = _root(options) / options.run
    manifests.load(run)
    gap = export(run, options.to, at=_at(run, options.checkpoint))
    print(f"{options.to}: logits equal transformers' within {gap:.1e}")


if __name__ == "__main__":
    sys.exit(main())
