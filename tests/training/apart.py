"""Training in processes of their own, which may be killed anywhere, while they write too.

They are forked off a server that has loaded PyTorch once.
"""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from tests.training.tasks import Line, values

from tailrec.training.attempts import Between, Found, OneOf
from tailrec.training.course import Course, train
from tailrec.training.run_folder import RunFolder
from tailrec.training.search import Attempt, Reports, search

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.training.apart"])
MARK = "line"
COURSE = Course(steps=12, check_every=3, keep_every=4, device="cpu")
PARAMETERS = "parameters.safetensors"


def begin(folder: Path, course: Course, *, die_at: int | None = None, **line: Any) -> BaseProcess:
    """A process that trains a `Line` into a folder and leaves its parameters there.

    Args:
        folder: of the run.
        course: how.
        die_at: the process kills itself before so many file operations in the folder.
        line: of the task.
    """
    process = _CONTEXT.Process(target=_train, args=(folder, course.toml(), die_at, line))
    process.start()
    return cast("BaseProcess", process)


def begin_together(n: int, folder: Path, course: Course, **line: Any) -> list[BaseProcess]:
    """Processes that share the work of one run; each leaves its parameters, and its files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = [
        _CONTEXT.Process(target=_share, args=(rank, n, port, (folder, course.toml(), None, line)))
        for rank in range(n)
    ]
    for process in together:
        process.start()
    return [cast("BaseProcess", process) for process in together]


def begin_search(folder: Path, n_steps: int) -> BaseProcess:
    """A process that searches as `search_lines`, and kills itself after so many steps."""
    process = _CONTEXT.Process(target=search_lines, args=(folder, n_steps))
    process.start()
    return cast("BaseProcess", process)


def search_lines(folder: Path, n_steps: int | None = None) -> Found:
    """Search the options of a `Line`, each attempt in a run folder of its own."""
    torch.set_num_threads(1)
    n_done = 0

    def progress(*_: object) -> None:
        nonlocal n_done
        n_done += 1
        if n_done == n_steps:
            os.kill(os.getpid(), signal.SIGKILL)

    def objective(attempt: Attempt) -> float:
        course = COURSE.model_copy(update=dict(attempt.options))
        run = RunFolder(folder / "attempts" / str(attempt.number), MARK)
        told = Reports("fit", attempt)
        return train(Line(dropout=0.1), course, run, tracker=told, progress=progress).best["fit"]

    space = {"rate": Between(1e-3, 1.0, log=True), "accumulate": OneOf((1, 2))}
    file = folder / "search.journal"
    return search(space, objective, budget_s=1e9, at_most=12, storage=file)


def wait(processes: Iterable[BaseProcess]) -> list[int | None]:
    """How processes ended."""
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def _share(rank: int, n: int, port: int, args: tuple[Path, str, int | None, Any]) -> None:
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n}
    own |= {"MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    os.environ.update({name: str(value) for name, value in own.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    _train(*args, rank=rank)


def _train(
    folder: Path, course: str, die_at: int | None, line: dict[str, Any], rank: int = 0
) -> None:
    torch.set_num_threads(1)
    if die_at is not None:
        _die(folder, die_at)
    own = folder.parent / "recipe.toml"
    own.write_text(course)
    task = Line(**line)
    train(task, Course.load(own), RunFolder(folder, MARK))
    save_file(values(task.module), folder.parent / f"{rank}-{PARAMETERS}")


def _die(folder: Path, at: int) -> None:
    n_done = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal n_done
        if event in ("open", "os.rename", "os.remove") and str(folder) in str(args[0]):
            if n_done == at:
                os.kill(os.getpid(), signal.SIGKILL)
            n_done += 1

    sys.addaudithook(hook)
