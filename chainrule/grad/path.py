"""`why_no_grad`: the place where the path from a parameter to a loss breaks.

Every node between the two gets its cotangent. Where one that has a gradient meets one that has
none, the path is cut; the cut nearest the loss is named. Read next: `reasons.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.core.dtypes import carries_gradient, is_float
from chainrule.core.errors import ArgumentError, GradientError, UnknownNameError
from chainrule.core.node import Node, topological
from chainrule.core.recording import Recording, current, input_op, literal
from chainrule.core.tensor import State, Tensor, as_tensor
from chainrule.core.tree import flatten
from chainrule.grad.control import Parts
from chainrule.grad.reasons import GradientPath
from chainrule.grad.reverse import _kind, _mend, backward, one_like, shares
from chainrule.ops.elementwise import stop_gradient


def why_no_grad(loss: Any, p: Any, model: Any = None) -> GradientPath:
    """Where the path from `p` to the `loss` breaks, or that it does not and the gradient's norm.

    `loss` is one float number computed under `with cr.record():`. With `model`, `p` may be the
    path of a parameter, "dense/kernel", and is also looked at for being frozen. GradientError
    when the loss was not recorded or is no single number.

    >>> import chainrule as cr
    >>> p = cr.Tensor([1.0, 2.0])
    >>> with cr.record():
    ...     loss = cr.sum(cr.round(p) * 3)
    >>> found = why_no_grad(loss, p)
    >>> found.reason, found.op
    ('flat', 'round')
    """
    recording = _recording_of(loss)
    who, p = _parameter(p, model)
    if isinstance(p, State):
        return GradientPath("state", who)
    if not is_float(p.dtype):
        return GradientPath("integer", who)
    end = recording.node_of(loss)
    target = p.node if p.recording is recording else recording.captured.get(id(p))
    order = topological([end])
    if target not in order:
        return _apart(recording, order, target, p, who)
    if not p.size:
        return GradientPath("empty", who)
    return _along(recording, _between(order, target), loss, who, _is_frozen(model, p, who))


def _recording_of(loss: Any) -> Recording:
    if not isinstance(loss, Tensor):
        raise GradientError(f"why_no_grad needs a loss, got {_kind(loss)}", mend=_mend(loss))
    recording = loss.recording
    if recording is None or not recording.concrete:
        raise GradientError(
            "why_no_grad needs a loss that was recorded with its numbers",
            mend="with cr.record(): around its computation, outside of cr.jit",
        )
    if current() not in (None, recording):
        raise GradientError("why_no_grad of another recording's loss while something else records")
    return recording


def _parameter(p: Any, model: Any) -> tuple[str, Tensor]:
    """The tensor and what it is called: its path where the model is known."""
    named = model.named_parameters() if model is not None else {}
    if isinstance(p, str):
        if model is None:
            raise ArgumentError("a parameter's path needs its model", mend="model=model")
        if p not in named:
            raise UnknownNameError("parameter", p, named)
        return p, named[p]
    p = as_tensor(p)
    path = next((path for path, held in named.items() if held is p), None)
    return path or f"p ({p.dtype}{list(p.shape)})", p


def _apart(
    recording: Recording, order: list[Node], target: Node | None, p: Tensor, who: str
) -> GradientPath:
    """The answer where no path leads from `p` to the loss."""
    made = [n for n in recording.nodes.values() if not recording.origins[n].gradient]
    moved = _between(made, target) if target is not None else []
    values = [p.numpy(), *[recording.values[n] for n in moved if is_float(n.dtype)]]
    for leaf in order:
        if not leaf.inputs and any(_is_copy(recording, leaf, value) for value in values):
            user = next((n for n in order if leaf in n.inputs), leaf)
            return _told(recording, "copied", who, user)
    if len(moved) > 1:
        return _told(recording, "used_elsewhere", who, moved[-1])
    return GradientPath("unused", who)


def _is_copy(recording: Recording, leaf: Node, value: np.ndarray) -> bool:
    """Whether a leaf holds these numbers; whole ones stand in many places, and say nothing."""
    if leaf.op is literal:
        return value.size == 1 and value.item() % 1 != 0 and leaf.attrs["value"] == value.item()
    other = recording.values.get(leaf)
    if leaf.op is not input_op or other is None or not is_float(value.dtype):
        return False
    equal = other.size == value.size and np.array_equal(other.ravel(), value.ravel())
    return np.may_share_memory(other, value) or (equal and bool(np.any(value % 1)))


def _between(order: Sequence[Node], target: Node) -> list[Node]:
    """`target` and the nodes of `order` that depend on it."""
    reached = {target}
    for node in order:
        if any(source in reached for source in node.inputs):
            reached.add(node)
    return [target, *[node for node in order if node in reached and node is not target]]


def _along(
    recording: Recording, between: list[Node], loss: Tensor, who: str, frozen: bool
) -> GradientPath:
    """The answer where some path leads from `between[0]` to the loss, `between[-1]`."""
    end, target = between[-1], between[0]
    if not carries_gradient(end.dtype):
        return _told(recording, "integers", who, _jump(end, between))
    with recording:
        found = backward([loss], [one_like(loss)], [recording.tensor(n) for n in between])
    flow = dict(zip(between, found, strict=True))
    g = {node: _numbers(part) for node, part in flow.items()}
    mine = g[target]
    if mine is None:
        cuts = _cuts(between, lambda n: g[n] is not None)
        node, source = cuts[0]
        return _told(recording, *_structural(node, source, between, who), _others(cuts))
    if not _finite(mine):
        return _told(recording, "not_finite", who, _cuts(between, lambda n: _finite(g[n]))[0][0])
    if not _moves(mine):
        cuts = _cuts(between, lambda n: _moves(g[n]))
        with recording:
            given = [(_share(recording, flow, *cut), cut[0]) for cut in cuts]
        part, node = next(pair for pair in given if pair[0] is not None)
        return _told(recording, "cancelled" if _moves(part) else "zero", who, node, _others(cuts))
    norm = float(np.sqrt(np.sum(np.square(mine, dtype=np.float64))))
    return GradientPath("frozen" if frozen else "flows", who, norm=norm)


def _told(recording: Recording, reason: str, who: str, node: Node, others: int = 0) -> GradientPath:
    origin = recording.origins[node]
    return GradientPath(reason, who, node.op.name, origin.place, origin.layer, node, others=others)


def _cuts(between: list[Node], alive: Callable[[Node], bool]) -> list[tuple[Node, Node]]:
    """From the loss back: each (node alive, its input) where the dead part around the target ends.

    What is dead elsewhere does not matter: softmax stops a gradient inside, beside one that flows.
    """
    dead = {between[0]}
    for node in between[1:]:
        if not alive(node) and any(source in dead for source in node.inputs):
            dead.add(node)
    ends = [node for node in reversed(between) if alive(node)]
    return [(node, source) for node in ends for source in node.inputs if source in dead]


def _others(cuts: list[tuple[Node, Node]]) -> int:
    return len({node for node, _ in cuts}) - 1


def _structural(node: Node, source: Node, between: list[Node], who: str) -> tuple[str, str, Node]:
    """(reason, who, node) of a cut that no numbers could open."""
    if not carries_gradient(source.dtype):
        return "integers", who, _jump(source, between)
    if node.op is stop_gradient:
        return "stopped", who, node
    return ("flat" if node.op.kind == "elementwise" else "no_derivative"), who, node


def _jump(node: Node, between: list[Node]) -> Node:
    """From an integer or bool node back to the one that made such of floats."""
    inside = set(between)
    while True:
        below = [n for n in node.inputs if n in inside]
        if any(carries_gradient(n.dtype) for n in below) or not below:
            return node
        node = below[0]


def _numbers(g: Any) -> np.ndarray | None:
    """A cotangent as plain numbers, also that of a bundle of tensors."""
    leaves = flatten(g.found if isinstance(g, Parts) else g)[0]
    return np.concatenate([np.ravel(t.numpy()) for t in leaves]) if leaves else None


def _finite(g: np.ndarray | None) -> bool:
    return g is None or bool(np.all(np.isfinite(g)))


def _moves(g: np.ndarray | None) -> bool:
    return g is not None and bool(np.any(g))


def _share(recording: Recording, flow: dict, node: Node, source: Node) -> np.ndarray | None:
    """What `node` alone gives to the cotangent of its input `source`, None where it gives none."""
    parts = shares(node, flow[node], recording, [n is source for n in node.inputs])
    given = [each for part in parts if (each := _numbers(part)) is not None]
    return np.concatenate(given) if given else None


def _is_frozen(model: Any, p: Tensor, path: str) -> bool:
    """Whether a layer that holds `p` has `trainable = False`, or the optimiser lets it stay."""
    if model is None or path not in model.named_parameters():
        return False
    stays = getattr(getattr(model, "optimizer", None), "stays", lambda path: False)
    return stays(path) or _held_frozen(model, p, False)


def _held_frozen(part: Any, p: Tensor, frozen: bool) -> bool:
    if part is p:
        return frozen
    if isinstance(part, dict | tuple | list):
        inner = part.values() if isinstance(part, dict) else part
        return any(_held_frozen(each, p, frozen) for each in inner)
    if not hasattr(part, "named_parameters"):
        return False
    frozen = frozen or not getattr(part, "trainable", True)
    return any(_held_frozen(each, p, frozen) for each in vars(part).values())
