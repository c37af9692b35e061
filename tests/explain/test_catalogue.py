"""The message catalogue is whole in every language, and the language follows the environment."""

import re
import string

import pytest

from chainrule.core.errors import UnknownNameError
from chainrule.explain.catalogue import Words, language
from chainrule.explain.words import LANGUAGES, WORDS


def fields(text: str) -> set[str]:
    """The names that a text asks for."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", WORDS)
def test_message_is_there_in_every_language(key):
    texts = WORDS[key]
    assert len(texts) == len(LANGUAGES)
    asked = fields(texts[0])
    for text in texts:
        forms = text.split("|")
        assert len(forms) <= 2 and all(forms)
        assert fields(text) == asked
        assert len(forms) == 1 or "n" in asked
    assert not re.search(r"[\u3000-\u9fff]", texts[0])


@pytest.mark.parametrize("key", [key for key in WORDS if "|" in "".join(WORDS[key])])
def test_texts_of_one_and_of_many_differ_by_count_alone(key):
    values = dict.fromkeys(fields(WORDS[key][0]), "") | {"n": 1}
    assert Words("en")(key, **values) != Words("en")(key, **values | {"n": 2})


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "zh_CN", "LANG": "en_US"}, "zh"),
        ({"LC_ALL": "C.UTF-8"}, "en"),
    ],
)
def test_language_follows_the_environment(environment, expected):
    assert language("auto", environment) == expected


def test_unknown_language_and_message_name_what_there_is():
    with pytest.raises(UnknownNameError, match="language 'fr'"):
        Words("fr")
    with pytest.raises(UnknownNameError, match="did you mean 'example'"):
        Words("en")("exampel")
