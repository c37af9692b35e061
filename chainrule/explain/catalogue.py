"""In which language an explanation speaks: `Words` gives the texts of `words.py` by their key.

Symbols, layer paths and numbers are never translated, so the catalogue holds only what surrounds
them. A language is a place in each entry of `words.py`; the tests find one that is empty. Read
next: `words.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from chainrule.core.errors import UnknownNameError
from chainrule.explain.words import LANGUAGES, WORDS

VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # the order in which POSIX reads them


class Words:
    """The texts of one language: `say(key, n=3)` fills in the text that `key` stands for.

    >>> Words("en")("examples", n=1), Words("en")("examples", n=1200)
    ('1 example', '1,200 examples')
    >>> Words("zh")("examples", n=1200)
    '1,200 个样本'
    """

    def __init__(self, lang: str = "auto"):
        self.lang = language(lang)

    def __call__(self, key: str, **values: object) -> str:
        """The text of `key`; a text for one and for many is chosen by `n`.

        UnknownNameError for a key that the catalogue lacks.
        """
        if key not in WORDS:
            raise UnknownNameError("message", key, WORDS)
        text = WORDS[key][LANGUAGES.index(self.lang)]
        if "|" in text:
            one, many = text.split("|")
            text = one if values["n"] == 1 else many
        return text.format(**{name: told(value) for name, value in values.items()})

    def named(self, name: str) -> str:
        """`name` in this language where the catalogue knows it, else as it is.

        >>> Words("zh").named("example"), Words("zh").named("conv1.kernel")
        ('样本', 'conv1.kernel')
        """
        return self(name) if name in WORDS else name


def language(lang: str = "auto", environment: Mapping[str, str] = os.environ) -> str:
    """ "en" or "zh"; "auto" asks the first of LC_ALL, LC_MESSAGES and LANG that is set.

    English where none of them is set, or the language is none of ours. UnknownNameError for
    another `lang`.

    >>> language("auto", {"LANG": "zh_CN.UTF-8"}), language("auto", {"LC_ALL": "C"})
    ('zh', 'en')
    """
    if lang in LANGUAGES:
        return lang
    if lang != "auto":
        raise UnknownNameError("language", lang, [*LANGUAGES, "auto"])
    wanted = next((environment[name] for name in VARIABLES if environment.get(name)), "")
    return wanted[:2].lower() if wanted[:2].lower() in LANGUAGES else "en"


def told(value: object) -> object:
    """Counts with commas between thousands, alike in both languages; all else as it is."""
    return f"{value:,}" if type(value) is int else value
