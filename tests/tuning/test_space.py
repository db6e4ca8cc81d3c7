"""The declared space and how a file narrows it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from kaggle_digits.core.architecture import FAMILIES, megamacs
from kaggle_digits.ground.config import TrainingConfig
from kaggle_digits.ground.errors import ConfigurationError
from kaggle_digits.ground.names import INK_POLICIES
from tuning.narrowing import narrow, read_space
from tuning.space import ON_REQUEST, SPACE, Choice, Space, steps

ALL = {dimension.name for dimension in SPACE}


def dimension(space: Space, name: str):
    return next(found for found in space.dimensions if found.name == name)


def test_the_space_searches_what_was_promised():
    assert {
        "family", "depth", "filters", "growth", "kernel_size", "spatial_dropout", "dropout",
        "dense_units", "batch_norm", "learning_rate", "weight_decay", "label_smoothing",
        "augmentation", "batch_size",
    } <= ALL  # fmt: skip
    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    assert ALL | {dimension.name for dimension in ON_REQUEST} == fields
    assert set(dimension(Space(), "family").values) == set(FAMILIES)
    assert set(dimension(Space(), "augmentation").values) == set(INK_POLICIES)


def test_the_default_configuration_is_in_the_space_and_comes_back_from_it():
    default = TrainingConfig()
    space = Space()
    assert space.to_config(space.to_values(default)) == default
    for found in space.dimensions:
        assert getattr(default, found.name) in found


def test_every_drawn_value_is_a_configuration_that_comes_back_from_json_and_from_values():
    """Invalid networks are impossible by construction: plans are made for any of them."""
    space = narrow({found.name: list(found.values) for found in ON_REQUEST}, "all")
    parameters = space.hyperparameters()
    seed = 0
    for _ in range(300):
        drawn = parameters.copy()
        drawn.values = {}
        for parameter in drawn.space:
            if drawn.is_active(parameter):
                drawn.values[parameter.name] = parameter.random_sample(seed)
                seed += 1
        config = space.to_config(drawn.values)
        assert TrainingConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
        assert space.to_config(space.to_values(config)) == config
        assert megamacs(config, 28, 28, 10) > 0


def test_depth_is_searched_only_where_a_family_has_one():
    space = Space()
    assert "depth" not in space.to_values(TrainingConfig(family="valid"))
    assert "depth" in space.to_values(TrainingConfig(family="pooled"))
    names = {found.name for found in narrow({"family": "valid"}, "a file").dimensions}
    assert "depth" not in names


def test_the_learning_rate_has_the_range_of_its_optimizer():
    both = narrow({"optimizer": ["adamw", "sgd"]}, "a file")
    rates = [found for found in both.dimensions if found.name == "learning_rate"]
    assert [rate.only.values for rate in rates] == [("adamw",), ("sgd",)]
    assert rates[1].low > rates[0].high
    only = narrow({"optimizer": "sgd"}, "a file")
    (rate,) = [found for found in only.dimensions if found.name == "learning_rate"]
    assert rate == rates[1]
    (rate,) = [found for found in Space().dimensions if found.name == "learning_rate"]
    assert rate == rates[0]
    low = narrow({"optimizer": ["adamw", "sgd"], "learning_rate": {"low": 0.1, "high": 0.2}}, "f")
    (rate,) = [found for found in low.dimensions if found.name == "learning_rate"]
    assert (rate.low, rate.high, rate.only.values) == (0.1, 0.2, ("sgd",))


def test_a_file_narrows_choices_ranges_and_single_values(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(
        'family = ["wide", "pooled"]\ndepth = 2\nbatch_norm = true\n'
        "learning_rate = { low = 0.005, high = 0.02 }\ndropout = { low = 0.1, high = 0.3 }\n"
        "weight_decay = [0.01, 0.1]\nmixup = [0.0, 0.2]\n"
    )
    space = read_space(path)
    assert set(dimension(space, "family").values) == {"pooled", "wide"}
    assert dimension(space, "depth").values == (2,)
    assert dimension(space, "batch_norm").values == (True,)
    assert (dimension(space, "learning_rate").low, dimension(space, "learning_rate").high) == (
        0.005, 0.02,
    )  # fmt: skip
    assert dimension(space, "dropout").values == (0.1, 0.2, 0.3)
    assert dimension(space, "weight_decay").values == (0.01, 0.1)
    assert dimension(space, "mixup").values == (0.0, 0.2)
    assert dimension(space, "filters") == dimension(Space(), "filters")
    names = [found.name for found in space.dimensions]
    assert len(names) == len(set(names)) == len(ALL) + 1


@pytest.mark.parametrize(
    ("text", "message", "mend"),
    [
        ("learning_rat = 0.01", "names 'learning_rat'", "Did you mean 'learning_rate'"),
        ('family = "poled"', "gives family 'poled'", "Did you mean 'pooled'"),
        ("depth = 9", "gives depth 9; expected of depth: 1, 2, 3", "declared space"),
        ("depth = []", "leaves no value for depth", None),
        ("batch_norm = 1", "gives batch_norm 1; expected of batch_norm: False, True", None),
        ("learning_rate = 0.5", "expected of learning_rate: 0.003 to 0.03", None),
        ("learning_rate = { low = 0.001, high = 0.01 }", "expected of learning_rate", None),
        ("learning_rate = { low = 0.02, high = 0.01 }", "expected of learning_rate", None),
        ("learning_rate = { min = 0.01 }", "expected of learning_rate", "low = ..., high"),
        ("dropout = { low = 0.1, high = 0.9 }", "expected of dropout", None),
        ('family = { low = "a", high = "b" }', "expected of family", None),
        ('family = "valid"\ndepth = 2', "names 'depth', which is not searched beside", "Leave"),
        ("depth = = 2", "is not TOML", "depth = "),
    ],
)
def test_what_a_file_must_not_say_is_refused(tmp_path, text, message, mend):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_space(path)
    assert mend is None or mend in str(caught.value.mend)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"--space was given as .*none\.toml"):
        read_space(tmp_path / "none.toml")


def test_a_narrowed_space_admits_only_what_it_holds():
    space = narrow({"family": "pooled", "depth": [1, 2]}, "a file")
    assert space.admits(TrainingConfig(family="pooled", filters=40))
    assert not space.admits(TrainingConfig(family="wide"))
    assert not space.admits(TrainingConfig(family="pooled", depth=3))
    assert space.to_values(TrainingConfig(family="pooled", filters=39))["filters"] == 32


def test_sizes_count_configurations():
    fixed = {
        found.name: found.values[0] for found in SPACE if isinstance(found, Choice)
    } | {"learning_rate": 0.01, "weight_decay": [0.01, 0.1]}  # fmt: skip
    assert narrow(fixed, "a file").size() == 2
    assert Space().size() == float("inf")


def test_steps_have_no_noise_of_binary_fractions():
    assert steps(0, 0.6, 0.1) == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def test_settings_say_every_dimension_in_words():
    settings = Space().settings()
    assert settings["space depth"].startswith("1, 2, 3 (family")
    assert settings["space learning_rate"].startswith("0.003 to 0.03, logarithmic")
    assert set(settings) == {f"space {name}" for name in ALL}
