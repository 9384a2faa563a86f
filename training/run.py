"""One runner for the six stages. The door to Composer's Trainer.

A stage starts from new weights or from the weights and optimiser moments of the run before, never from its position in data or schedule. Composer's own
checkpoints (`_resume/`) serve only to continue this run after it was killed: they are pickled, so they stay in the run's folder, are read by this run
alone and are deleted when it is done. What other runs read is safetensors.
"""

import json
import logging
import os
import shutil
import warnings
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from dolma.core import manifest as manifests
from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.files import lock, sha256, write_atomic
from dolma.core.graph import TRAINING_VERSION
from dolma.core.log import logger
from dolma.core.manifest import File, Input, Manifest
from training import data, served
from training.config import Init
from training.plan import METRICS, Plan
from training.tokens import Tokenizer

log = logger("train")
RESUME = "_resume"


def run(plan: Plan, *, again: bool = False) -> bool:
    """Train a stage, evaluate it before and after, and write its manifest last; a run that differs in what it is measured on alone is only measured.

    Args:
        again: train even when a finished run with the same fingerprint is there.

    Returns:
        whether anything was done.

    Raises:
        DataError: data, tokenizer or the run before are not what their manifests say.
        EnvironmentFault: a package is missing.
    """
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if not again and _fresh(plan, first):
        log.info("%s is fresh", plan.name)
        return False
    if not again and int(os.environ.get("WORLD_SIZE", "1")) == 1 and plan.trained() and _measure(plan):
        return True
    with lock(plan.folder) if first else nullcontext():
        if first:
            data.find(plan.root, plan.stage.data.manifest, hashes=True)  # a changed shard stops the run before it starts
            _prepare(plan, again)
        tokenizer = data.tokenizer(plan.root, plan.stage.data.tokenizer, plan.source)
        _import_composer()
        seen = _fit(plan, tokenizer)
        if int(os.environ.get("RANK", "0")) == 0:
            _finish(plan, tokenizer, seen)
    return True


def _fresh(plan: Plan, first: bool) -> bool:
    """Whether there is nothing to do. What a run killed just after its manifest left is removed, unless another one writes there by now."""
    if first and (plan.folder / RESUME).exists() and plan.fresh():
        with lock(plan.folder):
            if plan.fresh():
                shutil.rmtree(plan.folder / RESUME, ignore_errors=True)
    return plan.fresh()


def _measure(plan: Plan) -> bool:
    """Take the figures of a finished run again, from its last checkpoint; False if its other files are not what its manifest says.

    Its manifest is there at every moment: a run killed here is trained, and only its figures are taken once more.
    """
    folder = plan.folder
    with lock(folder):
        if not plan.trained():
            return False
        found = manifests.load(folder)
        if any(sha256(manifests.shard(folder, file)) != file.sha256 for file in found.files if file.name != METRICS):
            return False
        from training import checkpoint

        log.info("%s is trained, its figures are taken again", plan.name)
        tokenizer = data.tokenizer(plan.root, plan.stage.data.tokenizer, plan.source)
        before = _figures(plan, _initial(plan, tokenizer)[0], tokenizer, "before") if plan.stage.evaluate_first else []
        after = _figures(plan, checkpoint.load(folder), tokenizer, "after")
        path = folder / METRICS
        write_atomic(path, (json.dumps(_metrics(plan, before, after), indent=1) + "\n").encode())
        changed = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        files = [file.model_copy(update=changed) if file.name == path.name else file for file in found.files]
        update = {"fingerprint": plan.fingerprint, "files": files, "bytes": sum(file.bytes for file in files), "recipe": plan.stage.model_dump(mode="json")}
        manifests.save(folder, found.model_copy(update={**update, "inputs": _inputs(plan)}))
    return True


def _inputs(plan: Plan) -> list[Input]:
    read = [Input(name=plan.source.name, fingerprint=plan.source.fingerprint)]
    return [*read, Input(name=plan.parent.dataset, fingerprint=plan.parent.fingerprint)] if plan.parent else read


def _prepare(plan: Plan, again: bool) -> None:
    """Make the folder ready: nothing of another fingerprint is left, nor what a killed run left half done; with `again` nothing at all."""
    resume, mark = plan.folder / RESUME, plan.folder / RESUME / "fingerprint"
    (plan.folder / manifests.NAME).unlink(missing_ok=True)
    if again or not mark.is_file() or mark.read_text() != plan.fingerprint:
        for name in (RESUME, "checkpoints", "served"):
            shutil.rmtree(plan.folder / name, ignore_errors=True)
        (plan.folder / "run.jsonl").unlink(missing_ok=True)
        resume.mkdir(parents=True)
        write_atomic(mark, plan.fingerprint.encode())
    memory = resume / "shared_memory"
    if memory.is_file():
        data.forget(memory.read_text())
    whole = _last_whole(resume)
    for path in resume.glob("ba*.pt"):  # written when the run was killed; Composer refuses to overwrite it
        if path.name.split("-")[0] != whole.split("-")[0]:
            path.unlink()


def _last_whole(resume: Path) -> str:
    """The file name of the last checkpoint that is whole, or "": the one that Composer's link names, and else the newest; the link names it then.

    Composer writes a checkpoint under its own name, removes the link, sets it anew, and removes the checkpoint before: a kill leaves a part of a file, or no
    link, and a power cut may leave a link to a part. `torch.save` writes a zip, whose directory comes last: a part has none.
    """
    link, found = resume / "latest-rank0.pt", sorted(resume.glob("ba*-rank0.pt"), key=lambda path: int(path.name[2:].split("-")[0]))
    whole = [path.name for path in found if is_zipfile(path)]
    if link.is_symlink() and link.readlink().name in whole:
        return link.readlink().name
    link.unlink(missing_ok=True)
    if not whole:
        return ""
    link.symlink_to(whole[-1])
    return whole[-1]


def _import_composer() -> None:
    for name in ("composer", "streaming", "torch.distributed", "torch._dynamo"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(composer|streaming|torch|torchmetrics|google|pkg_resources|transformers)\b.*")
    os.environ.pop("MOSAICML_PLATFORM", None)  # with it Composer would send metrics to a server
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import composer  # noqa: F401
    except ImportError as error:
        raise EnvironmentFault("training.run", "package `mosaicml` is missing", mend="pip install 'dolma-flow[train]'") from error


def _initial(plan: Plan, tokenizer: Tokenizer) -> tuple[Any, Any]:
    """(model as the run before left it or with new weights, model to train): the second one has a stretched context when the stage asks for it."""
    from training import average, checkpoint
    from training.model import Olmo3, of_size

    stage, init = plan.stage, plan.stage.model.init
    if not isinstance(init, Init):
        shape = stage.model.dims.model_dump() if stage.model.dims else {}
        model = Olmo3(of_size(stage.model.size or "demo", tokenizer.vocab, context=plan.source.sequence_tokens, **shape), seed=stage.seed)
        return model, model
    parent = plan.root / init.run
    assert plan.parent is not None
    for file in plan.parent.files:
        if file.name != METRICS and sha256(manifests.shard(parent, file, manifests.RESTORE)) != file.sha256:
            raise DataError(str(parent / file.name), "a checkpoint changed", got="other bytes", expected=file.sha256[:16], mend="run that stage again")
    old = checkpoint.read_config(parent)
    before = Olmo3(old)
    checkpoint.fill(before, average.last(parent, init.average), init.run)
    model = Olmo3(old.stretched(stage.model.yarn)) if stage.model.yarn else Olmo3(old)
    model.load_state_dict(before.state_dict())
    return before, model


def _fit(plan: Plan, tokenizer: Tokenizer) -> dict[str, int]:
    import torch
    from composer import Trainer
    from composer.core import DataSpec
    from composer.utils import dist, get_device

    from training import checkpoint, feed, optim
    from training.callbacks import Carry, Rate, Save, Serve, Watch

    stage = plan.stage
    device = get_device(None)
    if not dist.is_initialized():
        dist.initialize_dist(device, timeout=1800)
    before, model = _initial(plan, tokenizer)
    if dist.get_global_rank() == 0:
        checkpoint.write_config(plan.folder, model.config)
        _evaluate(plan, before, tokenizer, "before")
    optimizer = optim.adamw(model, stage.optim)
    if isinstance(stage.model.init, Init) and "optimizer" in stage.model.init.load:
        checkpoint.fill_moments(optimizer, model, checkpoint.folders(plan.root / stage.model.init.run)[-1])
    fed = feed.build(plan, tokenizer, model, (dist.get_global_rank(), dist.get_world_size()))
    write_atomic(plan.folder / RESUME / "shared_memory", data.shared_memory(fed.rows).encode())
    seen, said = {"tokens": 0}, dict[str, Any]()
    wrapped = _wrap(model, fed, seen, said, torch.bfloat16 if stage.precision == "bf16" else None)

    def share(step: int) -> float:
        return optim.multiplier(stage.optim.schedule, step, plan.updates, plan.length)

    def counted(batch: feed.Batch) -> dict[str, int]:
        return {"total": feed.tokens(batch), "loss_generating": max(fed.weight(batch), 1)}

    answers = stage.objective.group if stage.objective.kind == "rlvr" else 1
    each = plan.sequences // dist.get_world_size() * answers
    record = served.Record(plan.folder / RESUME / "served", plan.source.opened, dist.get_global_rank() == 0, dist.all_gather_object)
    micro = min(stage.batch.micro or each, each)
    trainer = Trainer(
        model=wrapped,
        train_dataloader=DataSpec(fed.batches, get_num_tokens_in_batch=counted),
        max_duration=f"{plan.updates}ba",
        optimizers=optimizer,
        loggers=[],
        progress_bar=False,
        run_name="run",
        seed=stage.seed,
        device=device,
        precision="fp32",
        device_train_microbatch_size=micro,
        accumulate_train_batch_on_tokens=True,
        spin_dataloaders=stage.objective.kind != "rlvr",  # rollouts go on from their own state: to skip some would mean to generate them
        callbacks=[
            Rate(optimizer, stage.optim.lr, share),
            Watch(plan.folder / "run.jsonl", plan.name, plan.updates, optimizer, seen, said),
            Serve(record, plan.save_every, plan.updates, plan.sequences, answers),
            Save(plan.folder, model, optimizer, plan.save_every, plan.updates),
            Carry(optimizer, seen, fed.carried),
        ],
        autoresume=True,
        save_folder=str(plan.folder / RESUME),
        save_filename="ba{batch}-rank{rank}.pt",
        save_latest_filename="latest-rank{rank}.pt",
        save_interval=f"{plan.save_every}ba",
        save_num_checkpoints_to_keep=1,
        load_progress_bar=False,
    )
    if trainer.state.timestamp.batch.value < plan.updates:  # a run killed after its last update has nothing left to train
        trainer.fit()
    trainer.close()
    if dist.get_global_rank() == 0:
        _evaluate(plan, model.cpu().eval(), tokenizer, "after")
    return {**seen, "skipped": optimizer.skips}


def _wrap(model: Any, fed: Any, seen: dict[str, int], said: dict[str, Any], dtype: Any) -> Any:
    import torch
    from composer.models import ComposerModel
    from composer.utils import dist

    from training.feed import tokens

    class Wrapped(ComposerModel):
        """What Composer asks of a model, around an objective."""

        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            kind = batch["index"].device.type if "index" in batch else next(self.net.parameters()).device.type
            with torch.autocast(kind, dtype=dtype, enabled=dtype is not None):
                loss, figures = fed.loss(self.net, batch)
            seen["tokens"] += tokens(batch) * dist.get_world_size()
            said.update(figures)
            return loss

        def loss(self, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return outputs

    return Wrapped()


def _evaluate(plan: Plan, model: Any, tokenizer: Tokenizer, when: str) -> None:
    """Take the figures of a stage once; they wait in the resume folder until the stage is done."""
    path = plan.folder / RESUME / f"{when}.json"
    if path.is_file():
        return
    rows = _figures(plan, model, tokenizer, when)
    model.train()
    write_atomic(path, json.dumps(rows).encode())


def _figures(plan: Plan, model: Any, tokenizer: Tokenizer, when: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if plan.stage.evaluate and (when == "after" or plan.stage.evaluate_first):
        from training.evaluate.registry import evaluate

        for item in plan.stage.evaluate:
            log.info("%s: %s %s", plan.name, item.kind, when)
            rows += [asdict(row) for row in evaluate(item, model.eval(), tokenizer, plan.root)]
    return rows


def _metrics(plan: Plan, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, Any]:
    first = {(row["metric"], row["slice"]): row["value"] for row in before}
    rows = [
        {
            "metric": row["metric"],
            "slice": row["slice"],
            "before": first.get((row["metric"], row["slice"])),
            "after": row["value"],
            "n": row["n"],
            "chance": row["chance"],
        }
        for row in after
    ]
    return {"stage": plan.stage.stage, "rows": rows}


def _finish(plan: Plan, tokenizer: Tokenizer, seen: dict[str, int]) -> None:
    folder = plan.folder
    before, after = (json.loads((folder / RESUME / f"{when}.json").read_bytes()) for when in ("before", "after"))
    write_atomic(folder / METRICS, (json.dumps(_metrics(plan, before, after), indent=1) + "\n").encode())
    write_atomic(folder / "tokenizer.json", tokenizer.path.read_bytes())
    record = served.write(folder / RESUME / "served", plan.source.opened, folder)
    names = sorted([*(folder / "checkpoints").rglob("*.safetensors"), folder / "model.json", folder / "tokenizer.json", folder / METRICS])
    files = [File(name=str(path.relative_to(folder)), rows=0, bytes=path.stat().st_size, sha256=sha256(path)) for path in names] + record
    manifests.save(
        folder,
        Manifest(
            dataset=plan.name,
            fingerprint=plan.fingerprint,
            table="checkpoint",
            format="safetensors",
            rows=0,
            tokens=seen["tokens"],
            bytes=sum(file.bytes for file in files),
            files=files,
            counts={"updates": plan.updates, "tokens": seen["tokens"], "skipped": seen["skipped"]},
            facts={
                "tokenizer": plan.source.facts.get("tokenizer"),
                "stage": plan.stage.stage,
                "model": json.loads((folder / "model.json").read_bytes()),
                **{name: plan.source.facts[name] for name in data.CARDS if name in plan.source.facts},
                "training": plan.training,
            },
            recipe=plan.stage.model_dump(mode="json"),
            inputs=_inputs(plan),
            code={"training": TRAINING_VERSION, "streaming": data.version()},
        ),
    )
    shutil.rmtree(folder / RESUME, ignore_errors=True)  # last: until the manifest is there, it is all that a killed run can go on from
    log.info("%s is done: %d updates, %s tokens", plan.name, plan.updates, f"{seen['tokens']:,}")
