"""Cross-validation: configurations × folds × seeds as members, made once and never again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from ensembles.duplicates import across_folds
from ensembles.planning import MOST_SEEDS, in_order
from ensembles.pseudo_labels import PseudoRule
from ensembles.spending import Spender
from ensembles.trainer import Trainer
from kaggle_digits.core.folds import Folds, make_folds
from kaggle_digits.engine import Resources, Site, open_engine
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.deadline import Deadline
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.names import require_apart
from kaggle_digits.ground.progress import Progress, counted
from kaggle_digits.ground.workspace import Workspace
from kaggle_digits.records.members import require_same
from kaggle_digits.records.plan import FoldSet, MemberKey

if TYPE_CHECKING:
    from kaggle_digits.core.data import Dataset


_ERRORS_FALL = 0.48
"""Errors fall as rows to the power of minus this: an earlier measurement on the digits, which no
script of this project repeats."""


@dataclass(frozen=True, slots=True)
class CrossValidationSettings:
    """How configurations become members.

    Args:
        folds: Number of folds.
        epochs: Passes over the training part, for each member; with a budget, at most.
        copies: Augmented copies a member walks through at most.
        seed: Fixes folds, bank, and each member's own seed.
        seeds: Trainings of each configuration with other seeds; with a budget, at least, if they
            fit.
        add: Whether what the plan holds stays in it.
        keep_weights: Whether the networks are kept.
        pseudo: How confident test predictions join the training part; None for not at all.
        budget: Seconds that were asked for; None for no limit.
        may_lengthen: Whether, in a budget, members may have more epochs than `epochs` where the
            learning curve still gains.
        resources: Who trains. No part of the plan: members are the same whoever trains them, but
            for the rounding that other numbers of threads bring.
        rare: What to do with classes of fewer rows than folds, one of `names.RARE`; None to refuse
            them.
        refit: Members of all rows beside each fold set. They predict the test images alone: there
            is no row that they could be judged on.
        as_planned: Whether pseudo-labels or members of all rows join the sets of the plan that is
            added to as these are, whatever their epochs and seeds.
        call: The command that asks for all this, kept for who wants the same; None where there is
            none, as for configurations that no file has.

    Raises:
        ConfigurationError: Members of all rows are wanted in a budget, or with pseudo-labels.
    """

    folds: int
    epochs: int
    copies: int
    seed: int
    seeds: int = 1
    add: bool = False
    keep_weights: bool = False
    pseudo: PseudoRule | None = None
    budget: float | None = None
    may_lengthen: bool = False
    resources: Resources = Resources()
    rare: str | None = None
    refit: int = 0
    as_planned: bool = False
    call: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would not be done."""
        if self.refit:
            others = {
                "--time-budget": self.budget is not None,
                "--pseudo-label": self.pseudo is not None,
            }
            require_apart("--refit", "adds members of all rows to plain fold sets", others)

    @property
    def rounds(self) -> int:
        """Rounds of pseudo-labels."""
        return self.pseudo.rounds if self.pseudo else 0

    def following(
        self, plan: Mapping[str, Any], folds: int | None, epochs: int | None, seeds: int | None
    ) -> Self:
        """Return settings for members that are added to a plan: as in the plan, unless given.

        Args:
            plan: The plan's settings.
            folds: As given by the user; None for as in the plan.
            epochs: Likewise; with the plan's epochs go its copies.
            seeds: Likewise with pseudo-labels or members of all rows, else one.
        """
        return replace(
            self,
            folds=folds or plan["folds"],
            epochs=epochs or plan["epochs"],
            copies=self.copies if epochs else plan["copies"],
            # All of the plan's members help, and members of all rows stand beside each of its sets;
            # one of a plan from before there were seeds.
            seeds=seeds or (plan.get("seeds", 1) if self.pseudo or self.refit else 1),
            as_planned=bool(self.pseudo or self.refit) and not (epochs or seeds),
            rare=self.rare or plan.get("rare"),
        )

    def to_json(self, configs: Sequence[TrainingConfig]) -> dict[str, Any]:
        """Return what is asked for, as a dictionary that JSON can hold."""
        return {
            "folds": self.folds,
            "epochs": self.epochs,
            "copies": self.copies,
            "seed": self.seed,
            "seeds": self.seeds,
            "configurations": [config.digest for config in configs],
            "pseudo": self.pseudo.to_json() if self.pseudo else None,
            "budget": self.budget,
            # Left out where it is not asked for, as in plans from before it came.
            **({"rare": self.rare} if self.rare else {}),
            **({"refit": self.refit} if self.refit else {}),
        }


@dataclass(frozen=True, slots=True)
class FinishedMembers:
    """What came of it.

    Args:
        keys: All members of the plan that are there, in order: all of it, unless the time was over.
        trained: How many members were trained by this call.
        known: How many were there already.
        augmenting: Seconds that augmented copies took.
    """

    keys: list[MemberKey]
    trained: int
    known: int
    augmenting: float


def cross_validate(
    configs: Sequence[TrainingConfig],
    dataset: Dataset,
    workspace: Workspace,
    settings: CrossValidationSettings,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
    made: Callable[[], None] | None = None,
    deadline: Deadline | None = None,
) -> FinishedMembers:
    """Train what is missing of configurations × folds × seeds.

    Whole fold sets come first: all folds of the best configuration, then those of the next, and the
    same again with the next seed, so that a run that is ended early can be blended from complete
    sets. The plan of members is replaced, or added to; members that are no longer in it stay on
    disk and are taken up again when they are asked for again.

    With pseudo-labels the plan holds the members without them and those of the last round.

    Args:
        configs: Distinct, in the order of training.
        dataset: The data.
        workspace: Where members are stored.
        settings: How they are trained.
        progress: Told of every member.
        clock: Gives seconds that never run back.
        made: Called after each member that was trained; None for nobody.
        deadline: When a budget is over, where that is not the budget from now on.

    Raises:
        DataError: A class has fewer rows than folds.
        ConfigurationError: The plan that is added to has other folds, or no test image can become
            a pseudo-label.
        ArtefactError: A member that is needed is broken, or made from other data.
        TrainingError: A member diverged or ran out of memory.
    """
    started = clock()
    folds = make_folds(dataset, settings.folds, settings.seed, workspace, settings.rare)
    doubt = across_folds(dataset.images, folds.of_row).doubt(grouped=dataset.together is not None)
    if doubt:
        progress.say(f"cv-train: {doubt}")
    with open_engine(Site(dataset, workspace, progress), settings.resources) as engine:
        trainer = Trainer(
            folds,
            engine,
            copies=settings.copies,
            keep_weights=settings.keep_weights,
            rule=settings.pseudo,
            clock=clock,
            made=made,
        )
        campaign = _Campaign(trainer, configs, settings, progress)
        if settings.budget is None:
            keys = campaign.train_all()
        else:
            keys = campaign.train_within(deadline or Deadline(settings.budget, started, clock))
    return FinishedMembers(keys, trainer.trained, trainer.known, trainer.augmenting)


class _Campaign:
    """The way from configurations to a plan whose members are all there."""

    def __init__(
        self,
        trainer: Trainer,
        configs: Sequence[TrainingConfig],
        settings: CrossValidationSettings,
        progress: Progress,
    ) -> None:
        self._trainer = trainer
        self._store = trainer.store
        self._configs = configs
        self._settings = settings
        self._progress = progress
        fixes = trainer.dataset.fixes
        self._request = settings.to_json(configs) | ({"labels": fixes.account()} if fixes else {})
        self._stored: list[FoldSet] = []
        self._kept: list[MemberKey] = []
        self._calls: list[str | None] = [settings.call]
        if self._store.has_plan():
            self._take_up(*self._store.read_plan())

    def train_all(self) -> list[MemberKey]:
        """Train configurations × folds × seeds, and what is missing of the members kept."""
        settings, trainer = self._settings, self._trainer
        planned: list[MemberKey] = []
        wanted: list[MemberKey] = []
        members: list[MemberKey] = []
        for pseudo_round in range(settings.rounds + 1):
            trainer.begin_round(pseudo_round, members)
            sets = self._sets(pseudo_round)
            members = [key for fold_set in sets for key in trainer.keys(fold_set)]
            wanted += members
            if pseudo_round in (0, settings.rounds):
                planned += members
        if settings.refit:
            of_all = [key for one in sets for key in trainer.refit_keys(one, settings.refit)]
            planned += of_all
            wanted += of_all
            self._progress.say(_of_all_rows(len(of_all), trainer.folds))
        keys = self._plan(planned, ended=True)
        kept = [key for key in keys if key not in wanted and not key.round and self._is_ours(key)]
        work = [*kept, *wanted]
        trainer.tell_of_weights(work)
        with self._progress.task("cv-train", len(work), "members") as task:
            for _ in trainer.make_all(work, task):
                pass
        return keys

    def _sets(self, pseudo_round: int) -> list[FoldSet]:
        """Return the fold sets of a round that are asked for, in order."""
        planned: list[FoldSet] = []
        if self._settings.as_planned:
            # In a budget their epochs may differ, and how often a configuration was trained.
            ours = [key.fold_set for key in self._kept if self._is_ours(key) and not key.round]
            planned = [one for one in dict.fromkeys(ours) if one.config in self._configs]
        known = {one.config for one in planned}
        new = [config for config in self._configs if config not in known]
        settings = self._settings
        return [
            *(replace(one, round=pseudo_round) for one in planned),
            *in_order(new, settings.seeds, settings.epochs, pseudo_round),
        ]

    def train_within(self, deadline: Deadline) -> list[MemberKey]:
        """Train as many whole fold sets as fit before a deadline."""
        settings, trainer, rounds = self._settings, self._trainer, self._settings.rounds
        spender = Spender(
            trainer, settings.copies, deadline, self._progress, may_lengthen=settings.may_lengthen
        )
        base: list[MemberKey] = []
        last: list[MemberKey] = []
        for pseudo_round in range(rounds + 1):
            trainer.begin_round(pseudo_round, last)
            stored = [fold_set for fold_set in self._stored if fold_set.round == pseudo_round]
            sets = stored or self._unplanned(pseudo_round)

            def plan(
                members: Sequence[MemberKey],
                before: Sequence[MemberKey] = tuple(base),
                shown: bool = pseudo_round in (0, rounds),
            ) -> None:
                self._plan([*before, *(members if shown else ())], ended=False)

            last = spender.spend(
                spender.candidates(sets, stored=bool(stored)),
                plan,
                parts=rounds - pseudo_round + 1,
                first_is_due=pseudo_round == 0 and not self._has_whole_set(),
            )
            if spender.unfinished:
                return self._there([*base, *last, *spender.unfinished], ended=False)
            if not last:
                break
            if pseudo_round == 0:
                base = last
        if rounds and not last:
            self._progress.say("cv-train: the time does not reach for the pseudo-labels' members")
        return self._there([*base, *(last if rounds else ())], ended=True)

    def _take_up(self, stored: Mapping[str, Any], keys: Sequence[MemberKey]) -> None:
        """Find what of the plan that is there stays in it, and what of it is gone on with."""
        settings = self._settings
        kept: Sequence[MemberKey] = keys if settings.add else ()
        again = settings.budget is not None and stored.get("request") == self._request
        calls = stored.get("calls", [None])  # an earlier version did not say
        # What was added in a budget is there; asked again, it is another budget for more.
        is_more = again and settings.add and stored["ended"]
        if settings.add:
            known = not is_more and settings.call in calls
            self._calls = calls if known else [*calls, settings.call]
        if again and not is_more:
            kept, own = keys[: stored["kept"]], keys[stored["kept"] :]
            # Each once, in their order.
            self._stored = list(dict.fromkeys(key.fold_set for key in own if self._is_ours(key)))
            if settings.add:
                kept = [*kept, *(key for key in own if not self._is_ours(key))]
        if not kept:
            return
        for option, ours, theirs in (
            ("--folds", settings.folds, stored["folds"]),
            ("--seed", settings.seed, stored["seed"]),
        ):
            if ours != theirs:
                raise ConfigurationError(
                    f"{option} was given as {ours}; the plan that is added to has {theirs}.",
                    mend=f"Give {option} {theirs}, or leave out --add to plan anew.",
                )
        require_same(kept, self._trainer.dataset.digest)
        self._kept = self._that_can_be_made(kept)

    def _is_ours(self, key: MemberKey) -> bool:
        """Say whether a member has the folds of this call; members from elsewhere may not."""
        return key.folds == self._trainer.folds.digest

    def _that_can_be_made(self, kept: Sequence[MemberKey]) -> list[MemberKey]:
        """Leave out sets that are not whole and cannot be made here.

        The helpers of pseudo-labelled ones are not known here, nor are other folds than ours.
        """
        lost = {
            key.set_id
            for key in kept
            if (key.round or not self._is_ours(key)) and not self._store.has(key)
        }
        if lost:
            self._progress.say(
                f"cv-train: {counted(len(lost), 'fold set')} of pseudo-labels or other folds "
                "that cannot be made whole here leave the plan"
            )
        return [key for key in kept if key.set_id not in lost]

    def _unplanned(self, pseudo_round: int) -> list[FoldSet]:
        """Return all fold sets of a round that may come, but for those that are kept."""
        kept = {(key.config.digest, key.repeat, key.round) for key in self._kept}
        return [
            fold_set
            for fold_set in in_order(self._configs, MOST_SEEDS, self._settings.epochs, pseudo_round)
            if (fold_set.config.digest, fold_set.repeat, fold_set.round) not in kept
        ]

    def _has_whole_set(self) -> bool:
        kept = [key for key in self._kept if key.fold is not None]
        missing = {key.set_id for key in kept if not self._store.has(key)}
        return any(key.set_id not in missing for key in kept)

    def _there(self, planned: Sequence[MemberKey], *, ended: bool) -> list[MemberKey]:
        """Write the plan; return its members that are there: a budget trains no others of it."""
        return [key for key in self._plan(planned, ended=ended) if self._store.has(key)]

    def _plan(self, planned: Sequence[MemberKey], *, ended: bool) -> list[MemberKey]:
        """Write the plan: what is kept, then what is planned; return its members.

        Args:
            planned: Members of this call; a set of theirs takes the place of the one kept, whose
                members of all rows stay.
            ended: Whether a budget's plan has been carried out.
        """
        settings = self._settings
        mine, sets = set(planned), {key.set_id for key in planned}
        kept = [
            key
            for key in self._kept
            if (key not in mine if key.fold is None else key.set_id not in sets)
        ]
        about = {
            "folds": settings.folds,
            "epochs": settings.epochs,
            # Of every member that stays: none walks through more of them than it has epochs.
            "copies": max([settings.copies, *(key.copies for key in kept if self._is_ours(key))]),
            "seed": settings.seed,
            "seeds": settings.seeds,
            **({"rare": settings.rare} if settings.rare else {}),
            "request": self._request,
            "calls": self._calls,
            "kept": len(kept),
            "ended": ended,
        }
        keys = [*kept, *planned]
        self._store.write_plan(about, keys)
        return keys


def _of_all_rows(count: int, folds: Folds) -> str:
    """Say what members of all rows can be expected to bring; nothing can be measured of it."""
    fewer = 1 - (1 - 1 / folds.count) ** _ERRORS_FALL
    return (
        f"cv-train: {counted(count, 'member')} of all {len(folds.training_rows(None)):,} rows as "
        f"well, for the test images alone: each can be expected to make {fewer:.0%} fewer errors "
        f"than one of {folds.count} folds (errors fall as rows^-{_ERRORS_FALL} on the digits). "
        "Out-of-fold figures stay what they are"
    )
