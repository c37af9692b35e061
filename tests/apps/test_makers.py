"""The closed registry of nets: what it makes, and what it refuses."""

import numpy as np
import pytest

from chainrule.apps.images import RECIPES
from chainrule.apps.makers import MAKERS, make_model
from chainrule.apps.tasks import TASKS
from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.data.registry import datasets

GOOD = {"filters": [4, 8], "pools": [1, 2], "units": 16, "dropout": 0.1, "classes": 3}


def test_net_gives_one_logit_for_each_class():
    model = make_model("cnn", GOOD, (8, 8, 1), seed=0)
    y = model.predict(np.ones((5, 8, 8, 1), np.float32))
    assert y.shape == (5, 3)
    assert {name.split("/")[0] for name in model.named_parameters()} == {
        "conv2d", "conv2d_1", "dense", "dense_1",
    }  # fmt: skip


def test_weights_follow_from_the_seed():
    first, same, other = (make_model("cnn", GOOD, (8, 8, 1), seed=seed) for seed in (1, 1, 2))
    kernels = [model.get_weights()["conv2d/kernel"] for model in (first, same, other)]
    assert np.array_equal(kernels[0], kernels[1]) and not np.array_equal(kernels[0], kernels[2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filters": []}, "list of 1 to 8"),
        ({"filters": [4] * 9, "pools": [1] * 9}, "list of 1 to 8"),
        ({"filters": [4, 4.0]}, r"filters lies in 1 .. 512, got 4.0"),
        ({"filters": [4]}, "one pool is needed"),
        ({"pools": [1, 5]}, r"pools lies in 1 .. 4"),
        ({"units": "16"}, "units"),
        ({"dropout": float("nan")}, "dropout"),
        ({"classes": 1}, "classes"),
        ({"more": 1}, "takes exactly"),
    ],
)
def test_argument_outside_its_limits_is_refused(changes, message):
    with pytest.raises(ArgumentError, match=message):
        make_model("cnn", {**GOOD, **changes}, (8, 8, 1), seed=0)


def test_only_registered_makers_make():
    for name in ("os.system", "__class__", "cn", None):
        with pytest.raises(UnknownNameError, match="unknown model"):
            make_model(name, {}, (8, 8, 1), seed=0)


def test_every_recipe_is_of_a_known_set_and_of_its_task():
    known = {each.name for each in datasets()}
    for task in TASKS.values():
        for data, recipes in task.recipes.items():
            assert data in known
            assert [MAKERS[recipe.maker].task for recipe in recipes] == [task.name] * len(recipes)
            for recipe in recipes:
                assert set(recipe.arguments) <= set(MAKERS[recipe.maker].limits)


def test_every_image_recipe_is_within_the_limits():
    for data, recipes in RECIPES.items():
        shape = (8, 8, 1) if data == "digits" else (28, 28, 1)
        for recipe in recipes:
            make_model(recipe.maker, recipe.arguments, shape, seed=0)


def test_maker_of_another_task_is_unknown():
    with pytest.raises(UnknownNameError, match="unknown model 'cnn'"):
        make_model("cnn", GOOD, (8, 8, 1), seed=0, task="text")
