"""`Verdict`: what `check_derivation` answers, in words of two languages.

Read next: `student.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.explain.catalogue import Words
from chainrule.explain.page import Block, Page, Tex, line
from chainrule.explain.views import Views


@dataclass(frozen=True)
class Verdict(Views):
    """Whether an expression is the gradient of `parameter`, and if not, its first mistake.

    `verdict` is "right"; "sign"; "missing" or "extra" (a factor); "missing_term" (a path that is
    forgotten) or "extra_term"; "argument" (a letter in place of another, such as the derivative of
    an activation at the wrong one); "activation" (the derivative of another activation);
    "transpose", "order" or "product" (* for @, or the other way); "sum" (over the examples);
    "replaced" (by another letter or expression); or "unknown". `factor` is what should stand
    there, or is missing or too much, in LaTeX; `where` is the part of the expression that is
    wrong, and `mended` the expression put right, "" where it needs more than a student's names.
    `also` is a further constant factor that is missing. `needed` is the gradient's shape; of what
    is unknown, `came` is the expression's, None where it has no value, and `entry` the first entry
    that differs: (index, value, gradient).
    """

    parameter: str
    expression: str
    verdict: str
    factor: str = ""
    where: str = ""
    mended: str = ""
    also: str = ""
    needed: tuple[int, ...] = ()
    came: tuple[int, ...] | None = None
    entry: tuple[tuple[int, ...], float, float] | None = None
    lang: str = "auto"

    @property
    def right(self) -> bool:
        """Whether the expression is the gradient."""
        return self.verdict == "right"

    @property
    def message(self) -> str:
        """What the verdict says, in the language that was asked for."""
        return self.to_text().replace("\n", " ")

    def page(self, lang: str = "auto") -> Page:
        """The verdict in words."""
        say = Words(self.lang if lang == "auto" else lang)
        key = f"student_{self.verdict}"
        before, mark, after = say(key, factor="\0", where=self.where).partition("\0")
        shown = [before, Tex(self.factor), after] if mark else [before]
        blocks: list[Block] = [line(*shown, tone="good" if self.right else "bad")]
        if self.also:
            before, _, after = say("student_also", factor="\0").partition("\0")
            blocks.append(line(before, Tex(self.also), after))
        if self.verdict == "unknown":
            blocks.append(line(self._apart(say)))
        if self.mended:
            blocks.append(line(say("student_mended", text=self.mended)))
        return Page(say.lang, tuple(blocks))

    def _apart(self, say: Words) -> str:
        """How far the expression is from the gradient, where no mistake could be named."""
        if self.came is None:
            return say("student_no_value", needed=self.needed)
        if self.entry is None:
            return say("student_shapes", needed=self.needed, came=self.came)
        index, came, needed = self.entry
        return say("student_first", index=index, came=f"{came:.6g}", needed=f"{needed:.6g}")
