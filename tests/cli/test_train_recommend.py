"""`chainrule train recommend` and what a run of it is used for."""

import json
import re
import shutil
from pathlib import Path

import pytest

from chainrule.data.registry import is_cached, load


def test_short_training_beats_biases_alone(trained_recommend):
    out, answer = trained_recommend
    assert answer.code == 0, answer.err
    found = answer.json
    assert found["rmse"] < found["baselines"]["bias_only"] < found["baselines"]["global_mean"]
    assert 0 < found["mae"] < found["rmse"] and found["beaten_by"] == []
    assert found["examples"] == {"training": 880, "validation": 110, "test": 110}
    config = json.loads((out / "config.json").read_text())
    assert (config["low"], config["high"], config["task"]) == (1.0, 5.0, "recommend")


def test_evaluate_of_ratings_gives_what_training_gave(small, chainrule, trained_recommend):
    out, answer = trained_recommend
    found = chainrule("evaluate", out, "--json").json
    for name in ("rmse", "mae"):
        assert found[name] == answer.json[name]
    assert f"{found['rmse']:.4f}" in chainrule("evaluate", out).out


def test_predict_takes_numbers_and_titles(small, chainrule, trained_recommend):
    answer = chainrule("predict", trained_recommend[0], "3:7", "3:Film 7", "--json")
    first, second = answer.json["predictions"]
    assert first["stars"] == second["stars"] and 1 <= first["stars"] <= 5
    assert (first["user"], first["film"], first["title"]) == (3, 7, "Film 7")


def test_user_alone_gets_the_best_films_not_rated_yet(small, chainrule, trained_recommend):
    rows = chainrule("predict", trained_recommend[0], "5", "--json").json["predictions"]
    pairs = load("movielens-100k")
    rated = {film + 1 for part in (pairs.x_train, pairs.x_test) for user, film in part if user == 4}
    offered = [row["film"] for row in rows]
    assert rows and not rated & set(offered)
    stars = [row["stars"] for row in rows]
    assert stars == sorted(stars, reverse=True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("31:1", "a user is a number in 1 .. 30, got '31'"),
        ("0:1", "a user is a number in 1 .. 30"),
        ("me:1", "a user is a number in 1 .. 30"),
        (":1", "a user is a number in 1 .. 30"),
        ("1:41", "a film is a number in 1 .. 40, got '41'"),
        ("1:", "a film is a number in 1 .. 40"),
        ("1:Film 77", "did you mean 'Film 7'"),
    ],
)
def test_unknown_user_or_film_is_named(small, chainrule, trained_recommend, given, told):
    answer = chainrule("predict", trained_recommend[0], given, "1:1", "--json")
    assert answer.code == 1 and told in answer.err and "mend: " in answer.err
    assert [row["input"] for row in answer.json["predictions"]] == ["1:1"]


def test_result_of_ratings_is_shown_with_its_split(small, chainrule):
    answer = chainrule("train", "recommend", "--epochs", 2, "--batch-size", 220)
    rows = answer.out.splitlines()
    assert re.match(r"test rmse +of 110 ratings not trained on", rows[1])
    assert re.match(r"\d\.\d{4} +factors$", rows[2])
    assert any(row.startswith("split") and "at random" in row for row in rows)
    assert not any(row.startswith("mistakes") for row in rows)


@pytest.mark.parametrize("changes", [{"low": 5.0}, {"low": "1"}, {"high": True}, {"high": 1e300}])
def test_range_of_stars_is_checked(chainrule, trained_recommend, tmp_path, changes):
    run = Path(shutil.copytree(trained_recommend[0], tmp_path / "mine"))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, **changes}))
    answer = chainrule("predict", run, "1:1")
    assert answer.code == 1 and answer.err.startswith("FileError: ")
    assert answer.err.count("\n") == 1


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_full_training_of_ratings_reaches_095(chainrule, seed):
    if not is_cached("movielens-100k"):
        pytest.skip("movielens-100k is not on this machine: chainrule data get movielens-100k")
    found = chainrule("train", "recommend", "--seed", seed, "--json").json
    assert found["rmse"] <= 0.95 and found["seconds"] < 300
    assert found["rmse"] < found["baselines"]["bias_only"] < found["baselines"]["global_mean"]
