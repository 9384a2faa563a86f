"""The mix table: a mix found by a swarm of proxies against the natural one and a flat quality filter, equal tokens, on documents that neither side has seen.

The swarm chooses on the side `tune`; the figures are of the side `heldout` and, where the data kit is, of evaluation sets (question and answer as one text)
that nothing was chosen by. Runs are ordinary stages: what is fresh is not trained again, and a killed table goes on where it was.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pyarrow as pa

from benchmarks.table import rewrite
from dolma.core.config import parse
from dolma.core.graph import fingerprint
from dolma.core.log import setup
from dolma.core.schema import keys
from dolma.mix.plan import Upsampling
from dolma.swarm.mixes import fresh, store
from dolma.swarm.run import Swarming, proposed
from dolma.swarm.train import Job, Trainer

HERE = Path(__file__).parents[1]
EVALS = "evals/texts"
MIXES = ("natural", "natural_best", "proposed", "proposed_curve")
WORDS = {
    "natural": "natural shares",
    "natural_best": "natural shares, best 30 % of the web",
    "proposed": "proposed shares, repeated evenly",
    "proposed_curve": "proposed shares, the best repeated most",
}
BEST = {"web": 16}  # of ten buckets, numbered 2 to 20, the best three
BY_QUALITY = Upsampling(params="C", cap=7.0, throwaway=0.4)  # as in pipelines/mix/pretrain.yaml
CONFIDENCE = 0.95
SECONDS = 1.05e-4  # of one token of pipelines/swarm/compare.yaml on one quiet core: 9,800 tokens a second were measured, and evaluation is a thirtieth


def main(arguments: list[str] | None = None) -> int:
    """Train what is stale, print the table, write `benchmarks/mixes.json` and the table in the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="kit")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--swarm", default="sources", help="a file in pipelines/swarm")
    parser.add_argument("--plan", action="store_true", help="say what would be trained; trains nothing")
    options = parser.parse_args(arguments)
    setup()
    swarm = Swarming(options.swarm, HERE / "pipelines" / "env" / f"{options.env}.yaml", HERE / "pipelines")
    if options.plan:
        _plan(swarm, options.seeds)
        return 0
    swarm.run()
    swarm.flow.run(["pool/heldout"])
    evals = swarm.root / EVALS if texts(swarm.root, Path(swarm.flow.raw)) else None
    write_mixes(swarm)
    todo = [job for job in jobs(swarm, options.seeds, evals is not None) if not job.fresh(swarm.root)]
    Trainer(swarm.root, HERE, python=swarm.flow.env.python or sys.executable, workers=swarm.flow.env.workers).train("mixes", todo, lambda job, seconds: None)
    found = figures(swarm.root, options.seeds)
    (HERE / "benchmarks" / "mixes.json").write_text(json.dumps(found, indent=1) + "\n")
    text = markdown(found)
    print(text)
    rewrite(HERE / "README.md", "mixes", text)
    return 0


def _plan(swarm: Swarming, seeds: Sequence[int]) -> None:
    look, workers = swarm.outlook(), swarm.flow.env.workers
    runs, tokens = len(MIXES) * len(seeds), swarm.settings.proposal.tokens
    minutes = "unknown" if look.seconds is None else f"{look.seconds / 60:.0f} min"
    print(f"swarm: {look.todo} of {look.runs} proxies to train, {look.tokens:,} tokens, about {minutes} on {workers} cores")
    print(f"mixes: at most {runs} runs of {tokens:,} tokens, about {runs * tokens * SECONDS / workers / 60:.0f} min on {workers} cores")


def texts(root: Path, raw: Path) -> bool:
    """Write the evaluation sets of the kit as one dataset of documents, `source` the set; whether the kit is there."""
    if not (raw / "evals").is_dir():
        return False
    overlaps = {(row["eval"], row["eval_id"]) for row in _lines(raw / "decontam" / "known_train_eval_overlaps.jsonl.gz")}
    rows = [
        {"id": f"{name}/{row['id']}", "source": name.partition("_")[0], "text": _text(name, row)}
        for name in ("gsm8k_test", "math500", "svamp", "humaneval", "mbpp_test", "mmlu")
        for row in _lines(raw / "evals" / f"{name}.jsonl.gz")
        if (name, row["id"]) not in overlaps
    ]
    table = pa.Table.from_pylist(rows)
    table = table.append_column("key", keys(table.column("id")))
    print_ = fingerprint({"evals": table.to_pylist()})
    if not fresh(root, EVALS, print_):
        store(root, EVALS, table, "document", print_, recipe={"evals": "the kit's, question and answer"})
    return True


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _text(name: str, row: dict[str, Any]) -> str:
    """Question and answer as one text."""
    match name:
        case "humaneval":
            return row["prompt"] + row["canonical_solution"]
        case "mbpp_test":
            return f"{row['prompt']}\n{row['code']}"
        case "mmlu":
            return f"{row['question']}\n{row['choices'][row['answer']]}"
        case "svamp":
            return f"{row['Body']} {row['Question']}\n{row['Answer']:g}"
        case _:
            return f"{row['problem']}\n{row['solution']}"


def write_mixes(swarm: Swarming) -> None:
    """The mixes that are compared, each of as many tokens."""
    natural = dict(zip(swarm.domains, swarm.prior.tolist(), strict=True))
    found, tokens = proposed(swarm.root, swarm.name), swarm.settings.proposal.tokens
    swarm.supply.write("mixes/natural", tokens, natural)
    swarm.supply.write("mixes/natural_best", tokens, natural, best=BEST)
    swarm.supply.write("mixes/proposed", tokens, found)
    swarm.supply.write("mixes/proposed_curve", tokens, found, upsampling=BY_QUALITY)


def jobs(swarm: Swarming, seeds: Sequence[int], evals: bool) -> list[Job]:
    """A run of each mix and seed, all of equal length."""
    made, tokens = [], swarm.settings.proposal.tokens
    for seed in seeds:
        for mix in MIXES:
            value = parse(HERE / "pipelines" / "swarm" / "compare.yaml")
            value |= {"seed": seed, "data": {"manifest": f"mixes/{mix}", "seed": seed}, "length": {**value["length"], "duration": f"{tokens}tok"}}
            if evals:
                value["evaluate"] = [*value["evaluate"], {**value["evaluate"][0], "data": EVALS}]
            made.append(Job(_run(mix, seed), value, tokens))
    return made


def _run(mix: str, seed: int) -> str:
    return f"mixes/runs/{mix}-{seed}"


def figures(root: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Bits per byte of each task and of their mean by mix, a value a seed, and the verdict on each pair of mixes."""
    values: dict[str, dict[str, list[float]]] = {mix: {} for mix in MIXES}
    for mix in MIXES:
        for seed in seeds:
            rows = json.loads((root / _run(mix, seed) / "metrics.json").read_bytes())["rows"]
            for row in rows:
                values[mix].setdefault(row["slice"], []).append(row["after"])
            values[mix].setdefault("mean", []).append(fmean(row["after"] for row in rows))
    pairs = [verdict(values, first, second) for first, second in combinations(MIXES, 2)] if len(seeds) > 1 else []
    return {"seeds": list(seeds), "bits_per_byte": values, "pairs": pairs}


def verdict(values: dict[str, dict[str, list[float]]], first: str, second: str) -> dict[str, Any]:
    """Which of two mixes has the lower mean: decided when 0 is outside the interval of the difference (Student's t, pooled spread of the seeds)."""
    from scipy.stats import t

    a, b = values[first]["mean"], values[second]["mean"]
    spread = ((stdev(a) ** 2 + stdev(b) ** 2) / 2) ** 0.5
    difference, reach = fmean(b) - fmean(a), float(t.ppf((1 + CONFIDENCE) / 2, 2 * len(a) - 2)) * spread * (2 / len(a)) ** 0.5
    tasks = [task for task in values[first] if task != "mean"]
    lower = sum(fmean(values[second][task]) < fmean(values[first][task]) for task in tasks)
    better = "undecided" if abs(difference) <= reach else second if difference < 0 else first
    return {"first": first, "second": second, "difference": difference, "spread": spread, "reach": reach, "lower": lower, "tasks": len(tasks), "better": better}


def markdown(found: dict[str, Any]) -> str:
    """The table as it stands in the README: mean, plus or minus the standard deviation over the seeds; then a line a pair."""
    values = found["bits_per_byte"]
    lines = ["| bits per byte | " + " | ".join(WORDS[mix] for mix in MIXES) + " |", "|---" * (len(MIXES) + 1) + "|"]
    for task in values[MIXES[0]]:
        lines.append(f"| {task} | " + " | ".join(_value(values[mix][task]) for mix in MIXES) + " |")
    if found["pairs"]:
        lines += ["", "| pair | difference of means | 95 % interval | tasks lower | better |", "|---|---|---|---|---|"]
    for pair in found["pairs"]:
        name = f"{WORDS[pair['second']]} against {WORDS[pair['first']]}"
        better = WORDS.get(pair["better"], pair["better"])
        lines.append(f"| {name} | {pair['difference']:+.4f} | ± {pair['reach']:.4f} | {pair['lower']} of {pair['tasks']} | {better} |")
    return "\n".join(lines)


def _value(seeds: list[float]) -> str:
    return f"{fmean(seeds):.4f}" + (f" ± {stdev(seeds):.4f}" if len(seeds) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
