"""The record that training, the command line and run folders know tasks by."""

from dataclasses import replace

import pytest

from chainrule.apps import tasks
from chainrule.apps.images import IMAGES
from chainrule.apps.recommend import RECOMMEND
from chainrule.apps.runs import CONFIG, Run
from chainrule.apps.tasks import TASKS, open_run, register
from chainrule.apps.text import TEXT
from chainrule.apps.training import Outcome
from chainrule.core.errors import FileError, UnknownNameError
from chainrule.train.history import History


def test_accuracy_is_better_when_greater_and_error_when_less():
    assert IMAGES.better(0.9, 0.8) and not IMAGES.better(0.8, 0.8)
    assert RECOMMEND.better(0.8, 0.9) and not RECOMMEND.better(0.8, 0.8)
    assert (IMAGES.tell(0.98765), IMAGES.tell(0.98765, digits=3)) == ("98.77%", "98.8%")
    assert (RECOMMEND.tell(0.92104), RECOMMEND.tell(0.92104, digits=3)) == ("0.9210", "0.921")


def test_recipe_takes_changes_that_are_not_none():
    found = TEXT.recipe("movie-snippets", "bag", epochs=3, learning_rate=None)
    assert found == replace(TEXT.recipe("movie-snippets"), epochs=3)
    with pytest.raises(UnknownNameError, match="unknown text data set"):
        TEXT.recipe("digits")
    with pytest.raises(UnknownNameError, match="unknown model for movie-snippets 'cnn'"):
        TEXT.recipe("movie-snippets", "cnn")


def test_second_net_for_a_data_set_is_asked_for_by_name(monkeypatch):
    first = TEXT.recipe("movie-snippets")
    second = replace(first, maker="other", epochs=7)
    both = replace(TEXT, recipes={"movie-snippets": (first, second)})
    assert both.recipe("movie-snippets") == first
    assert both.recipe("movie-snippets", "other") == second


def test_two_tasks_of_one_name_are_refused(monkeypatch):
    monkeypatch.setattr(tasks, "TASKS", dict(TASKS))
    with pytest.raises(ImportError, match="two tasks are named 'text'"):
        register(TEXT)


@pytest.mark.parametrize("name", [None, 3, ["text"], "txt"])
def test_run_of_an_unknown_task_is_refused(tmp_path, name):
    run = Run(tmp_path)
    run.write(CONFIG, {"format": 1, "task": name})
    with pytest.raises(FileError, match="task is one of images, "):
        open_run(run)


@pytest.mark.parametrize(
    ("task", "reached", "beaten_by", "fails"),
    [
        (IMAGES, 0.95, [], False),
        (IMAGES, 0.85, ["nearest_centroid"], False),
        (IMAGES, 0.1, ["nearest_centroid"], True),
        (RECOMMEND, 0.92, [], False),
        (RECOMMEND, 0.97, ["bias_only"], False),
        (RECOMMEND, 1.2, ["bias_only", "global_mean"], True),
    ],
)
def test_outcome_names_what_is_better_than_the_net(tmp_path, task, reached, beaten_by, fails):
    recipe = task.recipe(task.data)
    outcome = Outcome(task, Run(tmp_path), recipe, History(), 1, 0.0, {"test": 10}, "")
    assert outcome.failure == "" and outcome.beaten_by == []
    outcome.test = {task.measure: reached}
    levels = {IMAGES.name: (0.9, 0.1), RECOMMEND.name: (0.95, 1.1)}[task.name]
    outcome.baselines = {rival.name: level for rival, level in zip(task.rivals, levels)}
    assert outcome.beaten_by == beaten_by
    assert ("learnt nothing" in outcome.failure) == fails
