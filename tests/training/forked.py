"""Runs trainings in forks of one process that has imported everything: to kill them, and to share a batch.

It is a process of its own, with one thread, as a fork of a process that has several could hang::

    python forked.py kill RECIPES.json PHOTOS FOLDER
    python forked.py share RECIPES.json PHOTOS FOLDER
"""

import contextlib
import importlib
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch

from repro.errors import TrainingStopped
from repro.loss_network import LossNetwork
from repro.training import train
from repro.training.recipe import from_dict
from repro.training.run_folder import RunFolder

KILLS = 20


def import_everything():
    """Import what the first training would, and so each of the children."""
    for module in ("accelerate", "torchvision", "torch.utils.tensorboard"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    LossNetwork("pocket")


def fork(recipe, photos, folder, stop_at=None, **environment):
    """Train in a child, go on with the run if there is one; return the child's number.

    With ``stop_at`` the child sends itself SIGTERM when it reads its last photo of that step.
    """
    child = os.fork()
    if child:
        return child
    try:
        os.environ |= environment
        if stop_at is not None:
            stop_when_reading(stop_at * recipe.training.batch_size - 1)
        train(recipe, photos, folder, (folder / "run.json").exists(), precision="no", progress=False)
    except TrainingStopped:
        os._exit(130)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def stop_when_reading(index):
    from repro.training.data import RandomCrops

    draw = RandomCrops.draw

    def stopping(self, i):
        if i == index:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(self, i)

    RandomCrops.draw = stopping


def wait(child):
    """Return a child's exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ended(child):
    """Whether a child has ended; it can still be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def stopped_while_writing(child, folder):
    """Whether a child was writing a checkpoint and is stopped in it, however late this process sees it."""
    if not any(folder.glob(".checkpoint-*")):
        return False
    os.kill(child, signal.SIGSTOP)
    os.waitid(os.P_PID, child, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    if any(folder.glob(".checkpoint-*")):
        return True
    os.kill(child, signal.SIGCONT)
    return False


def kill(recipes, photos, folder):
    """With the one recipe make an undisturbed run, then others that are killed; return what became of each.

    Half of the moments are random, the other half are those when the next checkpoint is being written.
    """
    (recipe,) = recipes.values()
    started = time.monotonic()
    assert wait(fork(recipe, photos, folder / "undisturbed")) == 0
    duration = time.monotonic() - started
    rng = random.Random(0)
    kills, runs = [], [folder / "killed0"]
    while len(kills) < KILLS:
        while_writing = len(kills) % 2 == 1
        moment = time.monotonic() + rng.uniform(0, duration)
        child = fork(recipe, photos, runs[-1])
        while not ended(child):
            if time.monotonic() < moment:
                time.sleep(0.0005)
            elif not while_writing or stopped_while_writing(child, runs[-1]):
                break
        os.kill(child, signal.SIGKILL)  # a child that has ended is not harmed
        code = wait(child)
        if code == 0:
            runs.append(folder / f"killed{len(runs)}")
            continue
        assert code == -signal.SIGKILL, code
        checkpoint = RunFolder(runs[-1]).checkpoint
        step = torch.load(checkpoint, weights_only=True)["step"] if checkpoint.exists() else None
        kills.append({"step": step, "half_written": any(runs[-1].glob(".checkpoint-*"))})
    assert wait(fork(recipe, photos, runs[-1])) == 0
    return {"kills": kills, "runs": [run.name for run in runs]}


def share(recipes, photos, folder):
    """For each recipe make a run in one process and one shared by two; stop and resume the first recipe's."""
    codes = {}
    if not torch.cuda.is_available():  # the processes must find each other without being told of the CPU
        os.environ.pop("ACCELERATE_USE_CPU", None)
    for name, recipe in recipes.items():
        assert wait(fork(recipe, photos, folder / name / "one")) == 0
        codes[name] = share_among_two(recipe, photos, folder / name / "two")
    name, recipe = next(iter(recipes.items()))
    run = folder / name / "stopped"
    stopped = share_among_two(recipe, photos, run, stop_at=3)
    step = RunFolder(run).load()["step"]
    return {"codes": codes, "stopped": stopped, "step": step, "resumed": share_among_two(recipe, photos, run)}


def share_among_two(recipe, photos, folder, stop_at=None):
    """Return the exit codes of two processes that train together; only the second one is told to stop."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        fork(
            recipe,
            photos,
            folder,
            stop_at if rank == "1" else None,
            RANK=rank,
            LOCAL_RANK=rank,
            WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
        for rank in ("0", "1")
    ]
    return [wait(child) for child in children]


if __name__ == "__main__":
    torch.set_num_threads(1)
    import_everything()
    action, file, photos, folder = sys.argv[1:]
    tables = json.loads(Path(file).read_text(encoding="utf-8"))
    recipes = {name: from_dict(table) for name, table in tables.items()}
    print(json.dumps({"kill": kill, "share": share}[action](recipes, Path(photos), Path(folder))))
