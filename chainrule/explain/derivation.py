r"""`derivation`: the backward pass of a network as a page of a textbook.

The forward equations layer by layer, the derivative $\delta_v = \partial L / \partial v$ of every
value from the loss back, and from these the gradient of every parameter, with shapes. Layers that
repeat are written once. Nothing is computed and nothing is looked up: the equations are the
recorded graph, and the derivatives are what reverse mode makes of it. Read next:
`folding.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.core.node import Node
from chainrule.explain.backward import Written, backward_pass
from chainrule.explain.catalogue import Words
from chainrule.explain.equations import passed, record_loss
from chainrule.explain.folding import (
    VARIES,
    Equation,
    LayerPage,
    Letter,
    Raw,
    Shape,
    folded,
    shape_of,
)
from chainrule.explain.formula import Apply, Symbol
from chainrule.explain.latex import escaped
from chainrule.explain.letters import Lettered, Place, lettered
from chainrule.explain.page import Block, Page, Tex, heading, line
from chainrule.explain.reading import Reader
from chainrule.explain.subject import layers_of
from chainrule.explain.views import Views
from chainrule.explain.writing import latex


@dataclass(frozen=True)
class Derivation(Views):
    """The equations of a network and of its backward pass; print it, or show it in a notebook.

    `layers` go from the input to the loss, which is the last; the backward pass is read from the
    last to the first.
    """

    model: str
    loss: str
    letters: tuple[Letter, ...]
    layers: tuple[LayerPage, ...]
    lang: str = "auto"

    def page(self, lang: str = "auto") -> Page:
        """Lines and formulas."""
        say = Words(self.lang if lang == "auto" else lang)
        blocks: list[Block] = [line(say("derivation_of", name=self.model), tone="title")]
        blocks.append(line(say("derivation_loss", name=self.loss)))
        blocks.append(line(say("derivation_read"), tone="quiet"))
        blocks += [_told(each) for each in self.letters]
        blocks += heading(say("forward_pass"))
        for layer in self.layers:
            blocks.append(line(layer_title(layer, say), tone="title"))
            if layer.varies:
                blocks.append(line("  ", say("sizes_vary"), tone="quiet"))
            blocks += [_told(each) for each in layer.letters]
            blocks += [_line(each) for each in layer.forward]
        blocks += heading(say("backward_pass"))
        for layer in reversed(self.layers):
            if layer.backward:
                blocks.append(line(layer_title(layer, say), tone="title"))
                blocks += [_line(each) for each in layer.backward]
        return Page(say.lang, tuple(blocks))

    def to_latex(self, lang: str = "auto") -> str:
        """A paragraph and an `align*` of amsmath for each layer, forward and then back."""
        say = Words(self.lang if lang == "auto" else lang)
        title, loss = say("derivation_of", name=self.model), say("derivation_loss", name=self.loss)
        parts = [rf"\section*{{{escaped(title)}}}", rf"\noindent {escaped(loss)}"]
        parts += [rf"\noindent {_named(self.letters)}", rf"\subsection*{{{say('forward_pass')}}}"]
        for each in self.layers:
            parts += [_aligned(layer_title(each, say), each.forward, each.letters)]
        parts.append(rf"\subsection*{{{say('backward_pass')}}}")
        parts += [_aligned(layer_title(each, say), each.backward) for each in self.layers[::-1]]
        return "\n\n".join(part for part in parts if part)

    def __repr__(self) -> str:
        return f"<derivation of {self.model}, {len(self.layers)} layers; print() shows it>"


def derivation(model: Any, loss: Any = None, x_shape: Any = None, lang: str = "auto") -> Derivation:
    """The symbolic backward pass of `model`, as in training.

    `loss` is as in `compile`, by default what that was given; `x_shape` is the shape of one
    example, by default of those last seen (a dict or tuple of shapes for several inputs). A model
    that is not built is built. ArgumentError where one of the two is not known.

    >>> from chainrule import nn
    >>> from chainrule.train.sequential import Sequential
    >>> net = Sequential([nn.Dense(2, "sigmoid"), nn.Dense(1, "sigmoid")])
    >>> found = derivation(net, "mse", (2,))
    >>> found.layers[1].backward[0].left, found.layers[1].backward[0].right
    ('\\\\delta^{(2)}', '\\\\delta_{o} \\\\odot o \\\\odot \\\\left(1 - o\\\\right)')
    """
    recorded = record_loss(model, loss, x_shape)
    net = lettered(model, recorded)
    kinds = {path: type(each).__name__ for path, each in layers_of(model).items()}
    constants = [n for n, letter in net.names.items() if letter.base == "c"]
    letters = [
        Letter(latex(net.names[n]), net.names[n].base, shape_of(n.shape))
        for n in (*recorded.inputs, *recorded.targets, *constants)
    ]
    raw = _raw(net, kinds, type(model).__name__)
    return Derivation(model.name, recorded.name, tuple(letters), tuple(folded(raw)), lang)


def forward_pass(net: Lettered) -> list[Written]:
    """The equations of the forward pass, inputs first."""
    read = Reader(net.names)
    inside = {part: loop for loop in net.loops.values() for part in loop.parts}
    made: list[Written] = []
    for v in net.order:
        if v in net.loops:
            made += net.loops[v].values()
        elif v in net.names and v in net.places and v.inputs and net.names[v].base != "m":
            right = inside[v].part(v) if v in inside else read(v, inside=True)
            if isinstance(right, Symbol) and v not in inside and passed(v) is not v:
                right = Apply(rf"\mathrm{{{v.op.name}}}(#1)", (right,))
            made.append(Written("value", net.names[v], right, v.shape, v))
    return made


def _raw(net: Lettered, kinds: dict[str, str], model: str) -> list[Raw]:
    """The layers in order; a loop's steps belong where its result does."""
    loops = {node: next(iter(loop.parts)) for node, loop in net.loops.items()}
    layers: dict[Place, Raw] = {}

    def of(node: Node) -> Raw:
        place = net.places[loops.get(node, node)]
        kind = kinds.get(place.path, "" if place.number is None else model)
        return layers.setdefault(place, Raw(place, kind, [], [], []))

    for each in forward_pass(net):
        of(each.place).forward.append(each)
    for node, path in net.parameters.items():
        of(node).letters.append((net.names[node], path, shape_of(node.shape)))
    made = backward_pass(net.order, net.names, net.wanted, net.parameters, net.loops, net.twins)
    for kind in ("delta", "gradient", "handed down"):
        for each in made:
            layer = of(each.place)
            handed = each.kind == "delta" and each.left.layer != layer.place.number
            if kind == ("handed down" if handed else each.kind):
                layer.backward.append(each)
    return sorted(layers.values(), key=lambda raw: (raw.place.number is None, raw.place.stretch))


def shape_text(shape: Shape) -> str:
    """As Python would write it: (N, 2), (3,), ().

    >>> shape_text(("N", 2)), shape_text((3,))
    ('(N, 2)', '(3,)')
    """
    inside = ", ".join(map(str, shape))
    return f"({inside},)" if len(shape) == 1 else f"({inside})"


def layer_title(layer: LayerPage, say: Words) -> str:
    """The heading of a layer in words."""
    if layer.number is None:
        return say("the_loss")
    path = layer.path or layer.kind
    if len(layer.numbers) < 2:
        return say("layer_title", number=layer.number, path=path, kind=layer.kind)
    first, second, *_, last = layer.numbers
    shown = f"{first}, {second}, …, {last}" if len(layer.numbers) > 3 else _listed(layer.numbers)
    return say("layers_title", numbers=shown, n=len(layer.numbers), kind=layer.kind)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _told(each: Letter) -> Any:
    name = "" if each.path == each.symbol or each.path in ("x", "y", "c") else f"  {each.path}"
    return line("  ", Tex(each.symbol), f" : {shape_text(each.shape)}{name}", tone="quiet")


def _line(each: Equation) -> Any:
    shape = f"   {shape_text(each.shape)}" if each.shape else ""
    return line("  ", Tex(f"{each.left} = {each.right}"), shape)


def _named(letters: Sequence[Letter]) -> str:
    """What letters stand for, as text in LaTeX."""
    told = [
        rf"${each.symbol}$: ${_shape_latex(each.shape) or 1}$"
        + rf" \texttt{{{escaped(each.path)}}}" * (each.path not in ("x", "y", "c"))
        for each in letters
    ]
    return "; ".join(told)


def _aligned(title: str, equations: Sequence[Equation], letters: Sequence[Letter] = ()) -> str:
    rows = [rf"  {each.left} &= {each.right} && {_shape_latex(each.shape)}" for each in equations]
    inside = " \\\\\n".join(rows)
    shown = escaped(title).replace("…", r"\ldots{}")
    text = f"\\paragraph{{{shown}}} {_named(letters)}\n\\begin{{align*}}\n{inside}\n\\end{{align*}}"
    return text if rows else ""


def _shape_latex(shape: Shape) -> str:
    return r" \times ".join(map(str, shape)).replace(VARIES, r"\ldots")
