r"""LaTeX formulas as a line of plain text and as HTML: the same small language, read once.

It is the LaTeX that explanations and derivations write: symbols with `^` and `_`, `\frac`,
Greek letters, `\text`, brackets. An unknown command shows its name. Read next: `numerals.py`.
"""

from __future__ import annotations

import re
from html import escape
from typing import NamedTuple

TOKEN = re.compile(r"\\[a-zA-Z]+\*?\s*|\\.|[{}^_&]|\s+|[^\\{}^_&\s]")
LETTERS = dict(
    zip(
        "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi "
        "chi psi omega Gamma Delta Theta Lambda Sigma Phi Psi Omega varepsilon partial sum prod "
        "top prime infty dots ldots cdots nabla pm ast lVert rVert lvert rvert neg lfloor rfloor "
        "lceil rceil".split(),
        "α β γ δ ε ζ η θ κ λ μ ν ξ π ρ σ τ φ χ ψ ω Γ Δ Θ Λ Σ Φ Ψ Ω ε ∂ Σ Π "
        "ᵀ ′ ∞ … … … ∇ ± * ‖ ‖ | | ¬ ⌊ ⌋ ⌈ ⌉".split(),
        strict=True,
    )
)
BETWEEN = dict(
    zip(
        "cdot times odot oplus le ge ne approx to in wedge vee gg".split(),
        "·×⊙⊕≤≥≠≈→∈∧∨≫",
        strict=True,
    )
)
SPACES = [",", ";", ":", " ", "quad", "qquad"]
UNSEEN = ["!", "left", "right", "displaystyle", "textstyle", "limits", "big", "Big"]
SIGNS = {
    **LETTERS,
    **{name: f" {sign} " for name, sign in BETWEEN.items()},
    **dict.fromkeys(SPACES, " "),
    **dict.fromkeys(UNSEEN, ""),
}
MOST_BRACES = 200
FRACTIONS = ("frac", "tfrac", "dfrac")
WORDS = ("text", "mathrm", "operatorname", "mathbf", "mathit", "texttt", "mathcal", "mathbb")
AROUND = {"sqrt": "√", "overline": "const"}  # and then brackets: a line above cannot be typed
RAISED = dict(zip("0123456789+-=()lnᵀ′", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ˡⁿᵀ′"))
LOWERED = dict(zip("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ"))
BINDS_LOOSELY = re.compile(r"[ +\-·×/=]")


class Node(NamedTuple):
    """A piece of a formula: `sign` text, or `group`, `frac`, `up`, `down`, `word` of pieces."""

    kind: str
    text: str = ""
    parts: tuple[Node, ...] = ()


CLOSED = Node("sign", ")")


def plain(tex: str) -> str:
    r"""The formula as one line of Unicode text.

    >>> plain(r"\frac{\partial L}{\partial W^{(1)}_{0,2}}"), plain(r"\delta_{2} \odot \sigma'(z)")
    ('∂L/∂W⁽¹⁾[0,2]', "δ₂ ⊙ σ'(z)")
    """
    return re.sub(r" {2,}", " ", text_of(read(tex))).strip()


def html(tex: str) -> str:
    r"""The formula as HTML with `<sub>` and `<sup>`; everything in it is escaped.

    >>> html(r"W^{(1)}_{0,2} < 1")
    'W<sup>(1)</sup><sub>0,2</sub> &lt; 1'
    """
    return re.sub(r" {2,}", " ", html_of(read(tex))).strip()


def text_of(node: Node) -> str:
    """Plain text of a piece."""
    if node.kind in ("sign", "word"):
        return node.text
    inside = [text_of(part) for part in factors(node)]
    if node.kind == "frac":
        return "/".join(bracketed(part) for part in inside)
    content = "".join(inside)
    if node.kind == "up":
        return moved(content, RAISED) or f"^{braced(content)}"
    if node.kind == "down":
        return moved(content, LOWERED) or f"[{content}]"
    return content


def html_of(node: Node) -> str:
    """HTML of a piece."""
    if node.kind in ("sign", "word"):
        return escape(node.text)
    inside = [html_of(part) for part in factors(node)]
    if node.kind == "frac":
        over, under = (bracketed(part) for part in inside)
        return f"{over}/{under}"
    tag = {"up": "sup", "down": "sub"}.get(node.kind)
    content = "".join(inside)
    if tag == "sup":
        content = content.replace(SIGNS["top"], "⊤")  # the small one would be raised twice
    return f"<{tag}>{content}</{tag}>" if tag else content


def factors(node: Node) -> list[Node]:
    """The parts of a piece; a fraction that a factor follows at once is put in brackets."""
    bracket = Node("sign", "("), Node("sign", ")")
    found = []
    for part, after in zip(node.parts, [*node.parts[1:], None]):
        follows = after is not None and after.kind == "sign" and after.text[:1] in ("(", "[")
        wrap = node.kind == "group" and part.kind == "frac" and follows
        found += [bracket[0], part, bracket[1]] if wrap else [part]
    return found


def bracketed(text: str) -> str:
    """`text` as one operand of a fraction."""
    return f"({text})" if BINDS_LOOSELY.search(re.sub(r"<[^>]*>|\[[^]]*\]", "", text)) else text


def braced(text: str) -> str:
    """`text` as an exponent."""
    return text if len(text) == 1 else f"({text})"


def moved(text: str, letters: dict[str, str]) -> str:
    """`text` in raised or lowered letters; "" where one of them lacks such a form."""
    found = [letters.get(letter, "") for letter in text]
    return "".join(found) if all(found) else ""


def read(tex: str) -> Node:
    """The pieces of a formula; an unclosed brace ends with the formula.

    What is nested deeper than any formula of ours is one piece of text.
    """
    if tex.count("{") > MOST_BRACES:
        return Node("word", tex)
    return group(TOKEN.findall(tex)[::-1])


def group(rest: list[str]) -> Node:
    """The pieces up to the closing brace, which is taken too; `rest` is a stack."""
    parts: list[Node] = []
    while rest:
        token = rest.pop()
        if token == "}":
            break
        if (found := piece(token, rest)) != Node("sign", ""):
            parts.append(found)
    return Node("group", parts=tuple(parts))


def piece(token: str, rest: list[str]) -> Node:
    """What `token` begins."""
    if token == "{":
        return group(rest)
    if token in "^_":
        return Node("up" if token == "^" else "down", parts=(operand(rest),))
    if token == "&":
        return Node("sign", "")
    if not token.startswith("\\"):
        return Node("sign", " " if token.isspace() else token)
    name = token[1:].rstrip() or " "
    if name in FRACTIONS:
        return Node("frac", parts=(operand(rest), operand(rest)))
    if name in WORDS:
        return Node("word", words(rest))
    if name in AROUND:
        return Node("group", parts=(Node("sign", f"{AROUND[name]}("), operand(rest), CLOSED))
    space = " " if name not in SIGNS and rest and rest[-1][0].isalpha() else ""
    return Node("sign", SIGNS.get(name, name) + space)


def operand(rest: list[str]) -> Node:
    """The next piece, spaces before it left out."""
    while rest and rest[-1].isspace():
        rest.pop()
    return piece(rest.pop(), rest) if rest else Node("group")


def words(rest: list[str]) -> str:
    """The text in braces, as it stands there."""
    while rest and rest[-1].isspace():
        rest.pop()
    if not rest or rest.pop() != "{":
        return ""
    found, depth = [], 1
    while rest:
        token = rest.pop()
        depth += (token == "{") - (token == "}")
        if not depth:
            break
        found.append(token[1:] if token.startswith("\\") else token)
    return "".join(found)
