"""One list of each choice, shared by tables, values and the command line."""

from __future__ import annotations

import dataclasses

import click
import pytest

from ensembles.blending import evaluate_methods
from ensembles.methods import METHODS
from ensembles.pseudo_labels import PseudoRule
from kaggle_digits.core.architecture import FAMILIES
from kaggle_digits.core.augmentation import POLICIES
from kaggle_digits.core.hardware import named_precision
from kaggle_digits.core.normalisation import NORMALISATIONS
from kaggle_digits.ground import names
from kaggle_digits.ground.config import TrainingConfig, load_presets
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.shell.cli import load_command
from tuning.oracles import STRATEGIES


@pytest.mark.parametrize(
    ("table", "known"),
    [
        (FAMILIES, names.FAMILIES),
        (NORMALISATIONS, names.NORMALISATIONS),
        (POLICIES, names.POLICIES),
        (METHODS, names.METHODS),
        (load_presets(), names.PRESETS),
        (STRATEGIES, names.STRATEGIES),
    ],
)
def test_the_tables_have_exactly_the_names_in_their_order(table, known) -> None:
    assert tuple(table) == known


@pytest.mark.parametrize(
    ("field", "given", "mend"),
    [
        ("family", "stridet", "Did you mean 'strided'?"),
        ("augmentation", "lihgt", "Did you mean 'light'?"),
        ("optimizer", "adam", "Did you mean 'adamw'?"),
        ("family", "nonsense", "Known are: pooled, residual, stepped, strided, valid, wide."),
        (
            "augmentation",
            "q",
            "Known are: elastic, light, none, photo, photo-unflipped, standard, strong.",
        ),
        ("optimizer", "", "Known are: adamw, muon, sgd."),
    ],
)
def test_a_configuration_of_an_unknown_name_does_not_exist(field, given, mend) -> None:
    for make in (
        lambda: TrainingConfig(**{field: given}),
        lambda: TrainingConfig.from_json({field: given}),
        lambda: dataclasses.replace(TrainingConfig(), **{field: given}),
    ):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert (caught.value.message, caught.value.mend) == (
            f"{field} was given as {given!r}.", mend,
        )  # fmt: skip


def test_every_known_name_makes_a_configuration() -> None:
    for family in names.FAMILIES:
        for augmentation in names.POLICIES:
            for optimizer in names.OPTIMIZERS:
                TrainingConfig(family=family, augmentation=augmentation, optimizer=optimizer)


@pytest.mark.parametrize("field", ["name", "strategy"])
def test_a_preset_of_an_unknown_name_does_not_exist(field) -> None:
    quick = load_presets()["quick"]
    with pytest.raises(ConfigurationError, match="was given as 'bets'"):
        dataclasses.replace(quick, **{field: "bets"})


def test_other_values_refuse_unknown_names_too() -> None:
    with pytest.raises(ConfigurationError, match="--pseudo-targets was given as 'sotf'") as caught:
        PseudoRule(targets="sotf")
    assert caught.value.mend == "Did you mean 'soft'?"
    with pytest.raises(ConfigurationError, match="precision was given as 'auto'"):
        named_precision(names.AUTO)
    with pytest.raises(ConfigurationError, match="method was given as 'maen'") as caught:
        evaluate_methods(["mean", "maen"], *[None] * 4)
    assert caught.value.mend == "Did you mean 'mean'?"


@pytest.mark.parametrize(
    ("command", "option", "known"),
    [
        ("tune", "--strategy", names.STRATEGIES),
        ("tune", "--preset", names.PRESETS),
        ("run", "--precision", names.PRECISIONS),
        ("blend", "--method", (*names.METHODS, names.AUTO)),
        ("cv-train", "--pseudo-targets", names.PSEUDO_TARGETS),
    ],
)
def test_the_command_line_offers_exactly_the_names(command, option, known) -> None:
    (found,) = [p for p in load_command(command).params if option in p.opts]
    assert isinstance(found.type, click.Choice) and tuple(found.type.choices) == known
