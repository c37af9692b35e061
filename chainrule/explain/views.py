"""What every result of this folder can be shown as: in the terminal, a notebook, HTML, JSON.

A record inherits `Views` and says its `page`; the rest follows. Read next: `explanation.py`.
"""

from __future__ import annotations

from typing import Self

from chainrule.data.batches import check_whole
from chainrule.explain import html, schema, terminal
from chainrule.explain.page import Page


class Views:
    """A record with a `page`; `lang` is "en", "zh", or "auto" for that of the environment."""

    def page(self, lang: str = "auto") -> Page:
        """Lines and tables, in the reader's language."""
        raise NotImplementedError

    def to_text(self, width: int = terminal.WIDTH, lang: str = "auto") -> str:
        """What `print` shows: text of at most `width` columns, 80 or more."""
        check_whole("width", width, 1)
        return terminal.to_text(self.page(lang), width)

    def to_html(self, lang: str = "auto") -> str:
        """One `<div>` that needs no script and no file, as a notebook shows it."""
        return html.draw(self.page(lang))

    def to_json(self, indent: int | None = None) -> str:
        """All fields as a JSON object with schema and version."""
        return schema.to_json(self, indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The record that `to_json` wrote; DataError for any other text."""
        return schema.from_json(cls, text)

    def __str__(self) -> str:
        return self.to_text()

    def __rich__(self) -> terminal.Drawn:
        return terminal.Drawn(self.page())

    def _repr_html_(self) -> str:
        return self.to_html()
