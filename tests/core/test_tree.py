"""Pytrees: what is a container, what is a leaf, and that both ways meet."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import chainrule as cr
from chainrule.core.tree import flatten, register_tree, tree_map, unflatten


class Pair(NamedTuple):
    left: Any
    right: Any


class Scaled:
    def __init__(self, values: list, scale: float):
        self.values, self.scale = values, scale


register_tree(Scaled, lambda x: (x.values, x.scale), lambda scale, values: Scaled(values, scale))


class Shifted(Scaled):
    pass


TREES = st.recursive(
    st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)


SETTINGS = settings(derandomize=True, deadline=None, database=None)


@SETTINGS
@given(TREES)
def test_unflatten_undoes_flatten(tree):
    leaves, structure = flatten(tree)
    assert unflatten(structure, leaves) == tree
    assert type(unflatten(structure, leaves)) is type(tree)
    assert structure.leaves == len(leaves)


@SETTINGS
@given(TREES)
def test_structure_depends_on_the_containers_alone(tree):
    leaves, structure = flatten(tree)
    other = unflatten(structure, [object() for _ in leaves])
    assert flatten(other)[1] == structure
    assert hash(flatten(other)[1]) == hash(structure)


@pytest.mark.parametrize(
    ("one", "two"),
    [((1, 2), [1, 2]), ({"a": 1}, {"b": 1}), (None, 1), ((1,), (1, 2)), (Pair(1, 2), (1, 2))],
)
def test_different_containers_have_different_structures(one, two):
    assert flatten(one)[1] != flatten(two)[1]


def test_leaves_of_a_dict_come_in_the_order_of_its_keys():
    assert flatten({"b": 1, "a": 2})[0] == flatten({"a": 2, "b": 1})[0] == [2, 1]


def test_arrays_and_tensors_are_leaves():
    parts = [np.ones((2, 2)), cr.Tensor([1.0]), cr.State(np.zeros(1, "float32")), "text", 2.5]
    leaves, _ = flatten(parts)
    assert all(a is b for a, b in zip(leaves, parts))


def test_registered_class_is_a_container_with_its_subclasses():
    for cls in (Scaled, Shifted):
        leaves, structure = flatten({"x": cls([1, (2, None)], 0.5)})
        assert leaves == [1, 2]
        made = unflatten(structure, [10, 20])["x"]
        assert (made.values, made.scale) == ([10, (20, None)], 0.5)
    assert flatten(Scaled([1], 0.5))[1] != flatten(Scaled([1], 0.25))[1]


def test_tree_map_takes_trees_side_by_side():
    made = tree_map(lambda *x: x, {"a": 1, "b": [2, 3]}, {"a": 4, "b": [5, 6]})
    assert made == {"a": (1, 4), "b": [(2, 5), (3, 6)]}


def test_tree_map_gives_none_where_a_later_tree_has_none():
    made = tree_map(lambda x, g: (x, g), {"a": 1, "b": (2, 3)}, {"a": None, "b": None})
    assert made == {"a": (1, None), "b": ((2, None), (3, None))}


@pytest.mark.parametrize("other", [{"a": 1, "b": 2}, [1, 2], {"a": 1, "b": (2,)}])
def test_tree_map_refuses_another_structure(other):
    with pytest.raises(cr.ArgumentError, match="trees of one structure"):
        tree_map(lambda x, z: x, {"a": 1, "b": (2, 3)}, other)


def test_tree_map_refuses_other_keys():
    """Else a gradient would meet the parameter that happens to stand at its place."""
    with pytest.raises(cr.ArgumentError, match="needed: dict of a, b met dict of a, c"):
        tree_map(lambda x, z: x, {"a": 1, "b": 2}, {"a": 1, "c": 2})
