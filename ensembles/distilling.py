"""Distillation: one small network that learns what the blend says (Hinton et al. 2015).

Why its figures are honest: fold k's student learns from fold k's own members alone, none of which
saw a label of fold k: what they say of the other folds' rows and of the test images, joined by a
rule that was fitted on the other folds' rows. It is judged on fold k. The student that is delivered
learns the same way from all members, and has no row left to be judged on; its figures are those of
the folds' students, which learned from a fifth of the networks and four fifths of the rows (with
five folds).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.methods import METHODS, calibrate
from ensembles.pool import Pool, make_pool
from ensembles.rules import Rule
from ensembles.teaching import Learned, Lesson, teach, tell
from kaggle_digits.core.arrays import load_array, npy_bytes
from kaggle_digits.core.augmentation import Bank
from kaggle_digits.core.folds import Folds
from kaggle_digits.engine import Engine, Task, make_copies
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError
from kaggle_digits.ground.files import remove, write_bytes
from kaggle_digits.ground.stamps import digest
from kaggle_digits.records.members import MemberStore, require_same
from kaggle_digits.records.plan import MemberKey

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset

STUDENT = TrainingConfig(family="stepped", filters=16, growth=2.0, dropout=0.1, label_smoothing=0.0)
"""The network that learns where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Course:
    """How students learn.

    Args:
        config: What they are.
        epochs: Passes over training and test images.
        copies: Augmented copies that the passes walk through.
        seed: Fixes each student's own seed.
        method: How members are joined.
        calibrated: Whether what they say has a temperature.
    """

    config: TrainingConfig
    epochs: int
    copies: int
    seed: int
    method: str
    calibrated: bool


@dataclass(frozen=True, slots=True, eq=False)
class Teachers:
    """Whole fold sets of the plan's own folds, and what they say.

    Args:
        sets: Their members, each set's fold by fold.
        pool: Their predictions of the rows that they did not see, and of the test images.
        folds: The folds.
        labels: Of the pool's rows, int64 [rows].
        has_networks: Whether all networks are kept, so that they can be asked about the rows that
            they were trained on.
    """

    sets: tuple[tuple[MemberKey, ...], ...]
    pool: Pool
    folds: Folds
    labels: np.ndarray
    has_networks: bool

    @property
    def keys(self) -> list[MemberKey]:
        """All of them."""
        return [key for group in self.sets for key in group]


def find_teachers(
    keys: Sequence[MemberKey], store: MemberStore, dataset: Dataset, folds: Folds
) -> Teachers:
    """Return the planned members that can teach: whole sets of the plan's own folds.

    Members of other folds, or of all rows, are left out: none of them can be said to have seen no
    row of fold k.

    Raises:
        ArtefactError: There is no such set, or a member is broken or of other data.
    """
    sets: dict[Any, list[MemberKey]] = {}
    for key in keys:
        if key.folds == folds.digest and key.fold is not None and store.has(key):
            sets.setdefault(key.set_id, []).append(key)
    whole = [
        tuple(sorted(group, key=lambda key: key.fold or 0))
        for group in sets.values()
        if {key.fold for key in group} == set(range(folds.count))
    ]
    own = [key for group in whole for key in group]
    if not own and any(key.folds != folds.digest for key in keys):
        require_same(keys, dataset.digest)
        raise ArtefactError(
            f"None of the {len(keys)} planned members can teach: no set of the plan's own "
            f"{folds.count} folds is whole, and members of other folds may have seen any row.",
            mend="Call `kaggle-digits cv-train` to train members of the plan's own folds.",
        )
    pool, _ = make_pool(own or keys, store, dataset, folds)
    kept = all(store.has_weights(key) for key in own)
    return Teachers(tuple(whole), pool, folds, dataset.labels[pool.rows], kept)


class Distillation:
    """The way from members to students; what is complete is never done again.

    Args:
        teachers: Who teaches.
        course: How.
        engine: Who asks the members and trains the students; the cache of its workspace takes what
            is complete, until the outcome is stored.

    Attributes:
        made_by: 16 hex digits that stand for all that decides the outcome.
    """

    def __init__(self, teachers: Teachers, course: Course, engine: Engine) -> None:
        self.made_by = made_by(teachers, course)
        self._teachers = teachers
        self._course = course
        self._engine = engine
        self._site = engine.site
        self._store = MemberStore(engine.site.workspace)
        # Among the state of unfinished trainings, which `clean` keeps.
        self._checkpoints = engine.site.workspace.cache / "checkpoints"
        self._folder = self._checkpoints / f"student-{self.made_by}"

    def learn(self) -> tuple[np.ndarray, bytes]:
        """Train all students.

        Returns:
            The folds' students' softmax on the pool's rows, float32 [rows, classes], each row's by
            the student that learned without it; and the Keras file of the one that is delivered.

        Raises:
            TrainingError: A student diverged or ran out of memory.
            ArtefactError: A member's network is broken, or the cache cannot be written.
        """
        folds = self._teachers.folds
        steps = folds.count + 1
        if self._teachers.has_networks:
            steps += len(self._teachers.keys)
        with self._site.progress.task("distil", steps, "steps") as task:
            if self._teachers.has_networks:
                self._complete(self._questions(), self._told_path, npy_bytes, task.advance)
            self._complete(self._lessons(), self._learned_path, _learned_bytes, task.advance)
        classes = len(self._site.dataset.competition.classes)
        oof = np.zeros((len(folds.of_row), classes), dtype=np.float32)
        for fold in range(folds.count):
            oof[folds.held_out_rows(fold)] = load_array(self._learned_path(f"fold{fold}"))
        return oof[self._teachers.pool.rows], self._learned_path("whole").read_bytes()

    def forget(self) -> None:
        """Drop what is only needed until the outcome is stored, of earlier courses too."""
        for path in self._checkpoints.glob("student-*"):
            remove(path)

    def _complete(
        self,
        tasks: Iterator[tuple[str, Callable[[], Task]]],
        path: Callable[[str], Path],
        content: Callable[[Any], bytes],
        advance: Callable[..., None],
    ) -> None:
        """Do tasks whose result is not there yet, and store each as it comes."""
        names: dict[str, str] = {}

        def missing() -> Iterator[Task]:
            for name, make in tasks:
                if _is_whole(path(name)):
                    advance(timed=False)
                    continue
                task = make()
                names[task.key] = name
                yield task

        for outcome in self._engine.run(missing()):
            write_bytes(path(names[outcome.task.key]), content(outcome.result()))
            advance()

    def _questions(self) -> Iterator[tuple[str, Callable[[], Task]]]:
        for key in self._teachers.keys:

            def ask(key: MemberKey = key) -> Task:
                content = self._store.checked_model(key).read_bytes()
                return Task(f"distil: asking member {key.name}", tell, (content, key.config))

            yield key.name, ask

    def _lessons(self) -> Iterator[tuple[str, Callable[[], Task]]]:
        for fold, name in enumerate(self._names()):
            whole = fold == self._teachers.folds.count

            def give(fold: int | None = None if whole else fold, name: str = name) -> Task:
                lesson = self._lesson(fold, name)
                self._make_copies()
                return Task(f"distil: {lesson.name}", teach, (lesson,))

            yield name, give

    def _lesson(self, fold: int | None, name: str) -> Lesson:
        folds, course = self._teachers.folds, self._course
        # Of rare classes that no fold trains on, there is nothing to learn either.
        rows = folds.training_rows(fold)
        targets, test_targets = self._said(fold, rows)
        return Lesson(
            name="student" if fold is None else f"student fold {fold}",
            place=self._place(name),
            config=course.config,
            train_rows=rows,
            held_out_rows=folds.held_out_rows(fold),
            targets=targets,
            test_targets=test_targets,
            epochs=course.epochs,
            copies=course.copies,
            seed=int(digest([course.seed, course.config.digest, "student", name])[:7], 16),
            bank_seed=folds.seed,
        )

    def _said(self, fold: int | None, rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Return what a fold's own members say of rows and test images; all members for None."""
        pool, folds = self._teachers.pool, self._teachers.folds
        classes = len(self._site.dataset.competition.classes)
        rule = self._rule(fold)
        told = np.zeros((len(self._teachers.sets), len(rows), classes))
        test = np.zeros(pool.test.shape)
        for entry, group in enumerate(self._teachers.sets):
            asked = [key for key in group if fold is None or key.fold == fold]
            for key in asked:
                shape = len(folds.held_out_rows(key.fold)), pool.test.shape[1]
                test[entry] += self._store.load(key, shape, classes).test
                if self._teachers.has_networks:
                    told[entry] += load_array(self._told_path(key.name))[rows]
            test[entry] /= len(asked)
            told[entry] /= len(asked)
        targets = rule.apply(told).astype(np.float32) if self._teachers.has_networks else None
        return targets, rule.apply(test).astype(np.float32)

    def _rule(self, fold: int | None) -> Rule:
        """Return how members are joined, fitted without a fold's labels."""
        pool, labels = self._teachers.pool, self._teachers.labels
        known = np.flatnonzero(self._teachers.folds.of_row[pool.rows] != fold)
        rule = METHODS[self._course.method].fit(pool.oof[:, known], labels[known])
        if self._course.calibrated:
            return calibrate(rule, rule.apply(pool.oof[:, known]), labels[known])
        return rule

    def _make_copies(self) -> None:
        for part in ("train", "test"):
            config, seed, site = self._course.config, self._teachers.folds.seed, self._site
            bank = Bank.of(config, site.dataset, seed, site.workspace, part)
            make_copies(self._engine, bank, range(self._course.copies))

    def _names(self) -> list[str]:
        return [*(f"fold{fold}" for fold in range(self._teachers.folds.count)), "whole"]

    def _place(self, name: str) -> str:
        return f"student-{self.made_by}-{name}"

    def _told_path(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def _learned_path(self, name: str) -> Path:
        return self._folder / (f"{name}.keras" if name == "whole" else f"{name}.npy")


def made_by(teachers: Teachers, course: Course) -> str:
    """Return 16 hex digits that stand for all that decides what students learn."""
    return digest(
        {
            "config": course.config.to_json(),
            "epochs": course.epochs,
            "copies": course.copies,
            "seed": course.seed,
            "method": course.method,
            "calibrated": course.calibrated,
            "teachers": [key.name for key in teachers.keys],
            "has_networks": teachers.has_networks,
        }
    )


def require_teachable(config: TrainingConfig) -> TrainingConfig:
    """Return a configuration as a student's.

    Its labels are not smoothed: probabilities say themselves how sure they are.

    Raises:
        ConfigurationError: It needs more than its own network to predict.
    """
    for name, given, wanted in (
        ("views", config.views, 1),
        ("normalisation", config.normalisation, "none"),
    ):
        if given != wanted:
            raise ConfigurationError(
                f"The student's {name} was given as {given!r}; expected {wanted!r}: one network "
                "takes images as they come, wherever its file is loaded.",
                mend=f"Leave {name} out of --config.",
            )
    return replace(config, label_smoothing=0.0)


def _is_whole(path: Path) -> bool:
    if path.suffix != ".npy":
        return path.exists()
    try:
        load_array(path)
    except (OSError, ValueError):
        return False
    return True


def _learned_bytes(learned: Learned) -> bytes:
    return npy_bytes(learned.held_out) if learned.model is None else learned.model
