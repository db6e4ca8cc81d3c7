"""Who trains members: this process, or a team of processes side by side.

Both take orders one at a time, when somebody is free to work on them, and hand members back as they
are made. On a GPU machine each process of a team has a GPU, or shares one; without GPUs it has its
share of the cores, since small networks leave cores idle when two of them share each operation.

A room of this wing, not of the core: what is handed out are members, and the search hands out its
trials another way, by Keras Tuner's chief, so that other machines can join.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import numpy as np

from ensembles.workshop import Made, Order, Workshop
from kaggle_digits.core.processes import (
    END_SECONDS,
    Share,
    become_worker,
    end_all,
    shares_here,
    start_worker,
    workers_here,
)
from kaggle_digits.core.training import Throughput
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import KaggleDigitsError, TrainingError
from kaggle_digits.ground.progress import Progress, Task


class Executor(Protocol):
    """Whoever trains members."""

    @property
    def workers(self) -> int:
        """How many members are trained at a time."""

    def run(self, orders: Iterator[Order]) -> Iterator[Made]:
        """Work on orders until there are no more.

        Args:
            orders: Asked for the next one when there is somebody to work on it, or soon will be.

        Yields:
            Members as they are made, in any order.

        Raises:
            TrainingError: A member diverged or ran out of memory, or a process died.
        """

    def measure(self, config: TrainingConfig, seconds: float) -> Throughput:
        """Measure how fast a configuration is for one of the workers while all are at work."""

    def close(self) -> None:
        """End all processes."""


class Alone:
    """This process trains, one member after another.

    Args:
        workshop: What training needs.
        progress: Told of every step.
        clock: Gives seconds that never run back.
    """

    workers = 1

    def __init__(
        self,
        workshop: Workshop,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workshop = workshop
        self._progress = progress
        self._clock = clock

    def run(self, orders: Iterator[Order]) -> Iterator[Made]:
        """Work on orders until there are no more."""
        for order in orders:
            yield self._workshop.make(order, self._progress, self._clock)

    def measure(self, config: TrainingConfig, seconds: float) -> Throughput:
        """Measure how fast a configuration is."""
        return self._workshop.measure(config, seconds)

    def close(self) -> None:
        """Do nothing: there is no other process."""


class Team:
    """Processes that train side by side, started when the first work comes.

    Args:
        workshop: What training needs; every process gets a copy.
        workers: How many.
        progress: Told of every step of all of them.
    """

    def __init__(self, workshop: Workshop, workers: int, progress: Progress) -> None:
        self.workers = workers
        self._workshop = workshop
        self._progress = progress
        self._hands: list[_Hand] = []

    def run(self, orders: Iterator[Order]) -> Iterator[Made]:
        """Work on orders until there are no more."""
        ahead = next(orders, None)
        busy: list[_Hand] = []
        while ahead is not None or busy:
            idle = [hand for hand in self._at_work() if hand not in busy] if ahead else []
            if ahead is not None and idle:
                idle[0].pipe.send(ahead)
                busy.append(idle[0])
                # Its copies are made while the others are at work.
                ahead = next(orders, None)
                continue
            hand, made = self._next_answer(busy)
            busy.remove(hand)
            yield made

    def measure(self, config: TrainingConfig, seconds: float) -> Throughput:
        """Let all measure at the same time; return the mean."""
        busy = self._at_work()
        for hand in busy:
            hand.pipe.send((config, seconds))
        found: list[Throughput] = []
        while busy:
            hand, answer = self._next_answer(busy)
            busy.remove(hand)
            found.append(answer)
        return Throughput(
            *(
                float(np.mean([getattr(one, name) for one in found]))
                for name in ("images_per_second", "start_up", "predictions_per_second")
            )
        )

    def close(self) -> None:
        """End all processes; what they were at goes on from its last epoch when asked for again."""
        for hand in self._hands:
            hand.bars.close()
            hand.pipe.close()
        end_all(hand.process for hand in self._hands)
        self._hands = []

    def _at_work(self) -> list[_Hand]:
        """Return all processes, started if need be."""
        if not self._hands:
            found = shares_here(self.workers)
            self._hands = [_Hand.start(self._workshop, share) for share in found]
        return list(self._hands)

    def _next_answer(self, busy: list[_Hand]) -> tuple[_Hand, Any]:
        """Pass on what processes tell, until one of them has done what it was asked for."""
        by_pipe = {hand.pipe: hand for hand in busy}
        while True:
            for pipe in wait(list(by_pipe)):
                hand = by_pipe[pipe]  # type: ignore[index]
                try:
                    told = hand.pipe.recv()
                except (EOFError, OSError):
                    hand.process.join(END_SECONDS)
                    raise TrainingError(
                        f"A process that trained a member died (exit code "
                        f"{hand.process.exitcode}); was there too little memory?",
                        mend="Call the command again to go on, with fewer --workers.",
                    ) from None
                if isinstance(told, _Answer):
                    return hand, told.value
                if isinstance(told, KaggleDigitsError):
                    raise told
                told.pass_on(hand, self._progress)


class OnDemand:
    """Chooses who trains when the first work comes: to look for GPUs takes seconds.

    Args:
        workshop: What training needs.
        workers: Members trained at a time; None for what suits this machine.
        progress: Told of every step.
        clock: Gives seconds that never run back.
    """

    def __init__(
        self,
        workshop: Workshop,
        workers: int | None,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workshop = workshop
        self._wanted = workers
        self._progress = progress
        self._clock = clock
        self._chosen: Executor | None = None

    @property
    def workers(self) -> int:
        """How many members are trained at a time."""
        return self._executor().workers

    def run(self, orders: Iterator[Order]) -> Iterator[Made]:
        """Work on orders until there are no more."""
        first = next(orders, None)
        if first is not None:
            yield from self._executor().run(chain([first], orders))

    def measure(self, config: TrainingConfig, seconds: float) -> Throughput:
        """Measure how fast a configuration is."""
        return self._executor().measure(config, seconds)

    def close(self) -> None:
        """End all processes."""
        if self._chosen is not None:
            self._chosen.close()

    def _executor(self) -> Executor:
        if self._chosen is None:
            workers = self._wanted or workers_here(len(self._workshop.dataset.images))
            if workers == 1:
                self._chosen = Alone(self._workshop, self._progress, self._clock)
            else:
                self._progress.say(f"cv-train: {workers} members are trained at a time")
                self._chosen = Team(self._workshop, workers, self._progress)
        return self._chosen


@dataclass(eq=False, slots=True)
class _Hand:
    """A process of the team, as its parent sees it."""

    process: Any
    pipe: Connection
    bars: ExitStack = field(default_factory=ExitStack)
    task: Task | None = None

    @classmethod
    def start(cls, workshop: Workshop, share: Share) -> _Hand:
        ours, theirs = multiprocessing.Pipe()
        process = start_worker(_serve, theirs, workshop, share)
        theirs.close()  # so that the pipe ends when the process does
        return cls(process, ours)


@dataclass(frozen=True, slots=True)
class _Answer:
    value: Made | Throughput


@dataclass(frozen=True, slots=True)
class _Said:
    text: str

    def pass_on(self, hand: _Hand, progress: Progress) -> None:
        progress.say(self.text)


@dataclass(frozen=True, slots=True)
class _Opened:
    label: str
    total: int
    unit: str

    def pass_on(self, hand: _Hand, progress: Progress) -> None:
        hand.task = hand.bars.enter_context(progress.task(self.label, self.total, self.unit))


@dataclass(frozen=True, slots=True)
class _Advanced:
    by: int
    note: str | None
    timed: bool

    def pass_on(self, hand: _Hand, progress: Progress) -> None:
        assert hand.task is not None
        hand.task.advance(self.by, self.note, timed=self.timed)


@dataclass(frozen=True, slots=True)
class _Closed:
    def pass_on(self, hand: _Hand, progress: Progress) -> None:
        hand.bars.close()
        hand.task = None


class _Telling:
    """Progress as a process of the team tells it to its parent; one task at a time."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def say(self, text: str) -> None:
        self._pipe.send(_Said(text))

    @contextmanager
    def task(self, label: str, total: int, unit: str = "") -> Iterator[Task]:
        self._pipe.send(_Opened(label, total, unit))
        try:
            yield self
        finally:
            self._pipe.send(_Closed())

    def advance(self, by: int = 1, note: str | None = None, *, timed: bool = True) -> None:
        self._pipe.send(_Advanced(by, note, timed))


def _serve(pipe: Connection, workshop: Workshop, share: Share) -> None:
    """Be a process of the team: answer until the pipe is closed."""
    become_worker(share)
    progress = _Telling(pipe)
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        try:
            if isinstance(asked, Order):
                pipe.send(_Answer(workshop.make(asked, progress)))
            else:
                pipe.send(_Answer(workshop.measure(*asked)))
        except KaggleDigitsError as error:
            pipe.send(error)
        except Exception as error:
            traceback.print_exc()  # into the workspace's log, where the parent's words go too
            pipe.send(TrainingError(f"A member's training broke: {type(error).__name__}: {error}"))
