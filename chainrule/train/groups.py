"""Parameter groups: other settings, another optimiser or no training at all for some parameters.

Read next: `schedules.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from fnmatch import fnmatchcase
from typing import Any

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.core.tree import flatten, tree_map, unflatten
from chainrule.train.around import Around
from chainrule.train.optimizer import find_optimizer


class Groups(Around):
    """An optimiser with exceptions: `{path: settings}`, where the first path that fits holds.

    A path is a prefix ("encoder" is all below it, "dense/bias" one tensor) or a pattern with `*`
    ("*/bias"). Settings are a dict that replaces some of the optimiser's own, another optimiser,
    or None: those parameters are frozen, and `fit` computes no gradient for them. In `fit` a path
    that fits nothing is an ArgumentError.

    Learning rates keep their ratio to the optimiser's: setting `learning_rate`, or passing one to
    `update`, scales them all. A schedule of a group's own is followed in any case.

    >>> opt = Groups("adam", {"embedding": {"learning_rate": 1e-4}, "*/bias": None})
    """

    def __init__(self, inner: Any, groups: Mapping[str, Any]):
        super().__init__(inner)
        self.groups = {path: self._made(path, given) for path, given in groups.items()}
        self.ratios = {path: self._ratio(opt) for path, opt in self.groups.items()}

    def _made(self, path: str, given: Any) -> Any:
        if given is None or not isinstance(given, Mapping):
            return None if given is None else find_optimizer(given)
        if not is_dataclass(self.inner):
            raise ArgumentError(
                f"Groups: {path!r} replaces settings of {type(self.inner).__name__}, which holds "
                "another optimiser",
                mend="an optimiser in place of the dict, or Groups innermost",
            )
        known = [field.name for field in fields(self.inner)]
        for name in given:
            if name not in known:
                raise UnknownNameError(f"setting of {type(self.inner).__name__}", name, known)
        kind: Any = type(self.inner)
        return kind(**{**vars(self.inner), **given})

    def _ratio(self, opt: Any) -> float | None:
        rates = getattr(opt, "learning_rate", None), self.inner.learning_rate
        if any(callable(rate) or not rate for rate in rates):
            return None
        return rates[0] / rates[1]

    @property
    def weighs(self) -> bool:
        """Groups share one count of steps, so what accumulates stands around them."""
        return False

    def find(self, path: str) -> str | None:
        """The group that the parameter at `path` is in; None for the rest."""
        return next((group for group in self.groups if fits(path, group)), None)

    def stays(self, path: str) -> bool:
        """Whether the parameter at `path` is frozen."""
        group = self.find(path)
        return group is not None and self.groups[group] is None

    def fades(self, path: str) -> float | None:
        """What the optimiser of the group that `path` is in says."""
        return getattr(self._of(path), "fades", lambda path: None)(path)

    def rests(self, path: str) -> bool:
        """What the optimiser of the group that `path` is in says."""
        return getattr(self._of(path), "rests", lambda path: False)(path)

    def _of(self, path: str) -> Any:
        group = self.find(path)
        return self.inner if group is None else self.groups[group]

    def rate(self, state: Mapping[str, Any], learning_rate: Any = None) -> Any:
        """The learning rate of the next update, of all parameters that are in no group."""
        return self.inner.rate(state["rest"], learning_rate)

    def check_paths(self, paths: Sequence[str]) -> None:
        """ArgumentError when a group fits none of `paths`."""
        used = {self.find(path) for path in paths}
        unused = [repr(group) for group in self.groups if group not in used]
        if unused:
            raise ArgumentError(
                f"Groups: {', '.join(unused)} fits no parameter, or only such as an earlier group "
                "has taken",
                mend="among the paths are " + ", ".join(paths[:6]),
            )

    def init(self, params: Any) -> dict[str, Any]:
        """The state of each group, and that of all other parameters."""
        leaves, paths = flatten(params)[0], leaf_paths(params)
        parts = self._split(leaves, paths)
        return {
            "rest": self.inner.init(parts.get(None, {})),
            "groups": {
                group: {} if opt is None else opt.init(parts.get(group, {}))
                for group, opt in self.groups.items()
            },
        }

    def update(
        self, params: Any, grads: Any, state: Any, learning_rate: Any = None, **weight: Any
    ) -> tuple[Any, Any]:
        """(new parameters, new state)."""
        leaves, structure = flatten(params)
        paths, given = leaf_paths(params), []
        tree_map(lambda _, g: given.append(g), params, grads)
        slopes, parts = self._split(given, paths), self._split(leaves, paths)
        made, rest = self.inner.update(
            parts.get(None, {}), slopes.get(None, {}), state["rest"], learning_rate
        )
        groups = dict(state["groups"])
        for group, opt in self.groups.items():
            part = parts.get(group, {})
            if opt is not None:
                rate = self._rate_of(group, learning_rate)
                part, groups[group] = opt.update(part, slopes.get(group, {}), groups[group], rate)
            made |= part
        return unflatten(structure, [made[path] for path in paths]), {
            "rest": rest,
            "groups": groups,
        }

    def _rate_of(self, group: str, learning_rate: Any) -> Any:
        """The rate to pass on; None lets the group follow its own."""
        ratio = self.ratios[group]
        if ratio is None:
            return None
        return (self.inner.learning_rate if learning_rate is None else learning_rate) * ratio

    def _split(self, leaves: list, paths: list[str]) -> dict[str | None, dict[str, Any]]:
        found: dict[str | None, dict[str, Any]] = {}
        for path, leaf in zip(paths, leaves, strict=True):
            found.setdefault(self.find(path), {})[path] = leaf
        return found


def fits(path: str, group: str) -> bool:
    """Whether a parameter's path is the group's, below it, or as its pattern says."""
    return path == group or path.startswith(group.rstrip("/") + "/") or fnmatchcase(path, group)


def leaf_paths(tree: Any) -> list[str]:
    """The path of each leaf, in the order of `flatten`: keys and positions joined by "/".

    A module's tensors go by their names, "dense/kernel".
    """
    if hasattr(tree, "named_parameters"):
        named = {**tree.named_parameters(), **tree.named_states()}
        names = {id(tensor): name for name, tensor in named.items()}
        return [names[id(leaf)] for leaf in flatten(tree)[0]]
    if isinstance(tree, dict):
        parts: Any = [(key, tree[key]) for key in sorted(tree, key=str)]
    elif isinstance(tree, list | tuple):
        parts = enumerate(tree)
    else:
        return [""] * len(flatten(tree)[0])
    return [
        "/".join(filter(None, (str(key), path))) for key, part in parts for path in leaf_paths(part)
    ]
