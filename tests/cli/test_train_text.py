"""`chainrule train text` and what a run of it is used for."""

import json
import shutil
from pathlib import Path

import pytest

from chainrule.apps import text, training
from chainrule.data.registry import is_cached


@pytest.fixture
def run_text(trained_text, tmp_path) -> Path:
    """A copy of the run folder, to be damaged at will."""
    return Path(shutil.copytree(trained_text[0], tmp_path / "text"))


def test_short_training_tells_the_mood_of_texts(trained_text):
    out, answer = trained_text
    assert answer.code == 0, answer.err
    found = answer.json
    assert found["accuracy"] > 0.95 > 0.7 > found["baselines"]["majority"]
    assert found["baselines"]["tfidf_linear"] > 0.95
    assert "50 neutral texts" in found["split"] and found["task"] == "text"
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "history.json", "model.safetensors", "vocabulary.txt"} <= names


def test_evaluate_of_texts_gives_what_training_gave(small, chainrule, trained_text):
    out, answer = trained_text
    found = chainrule("evaluate", out, "--json").json
    for name in ("accuracy", "loss"):
        assert found[name] == answer.json[name]
    assert f"{found['accuracy']:.2%}" in chainrule("evaluate", out).out


def test_predict_reads_texts_from_arguments_and_lines(chainrule, trained_text):
    Path("texts.txt").write_text("good fine\n\n  bad dull \n", encoding="utf-8")
    words = ("predict", trained_text[0], "so GOOD, fine!", "--file", "texts.txt")
    rows = chainrule(*words, "--json").json["predictions"]
    assert [row["input"] for row in rows] == ["so GOOD, fine!", "good fine", "bad dull"]
    assert [row["class"] for row in rows] == ["positive", "positive", "negative"]
    assert (rows[0]["words"], rows[0]["known"]) == (4, 2)
    assert sum(rows[0]["probabilities"].values()) == pytest.approx(1)
    table = chainrule(*words).out.splitlines()
    assert len(table) == 4 and "2 of 4 words" in table[1]


def test_text_without_words_is_named_and_the_others_are_done(chainrule, trained_text):
    answer = chainrule("predict", trained_text[0], "", "good", " ... ", "--json")
    assert answer.code == 1 and answer.json["unreadable"] == 2
    assert [row["input"] for row in answer.json["predictions"]] == ["good"]
    assert answer.err.count("DataError: a text needs at least one word") == 2


def test_no_input_and_no_file_are_told(chainrule, trained_text):
    answer = chainrule("predict", trained_text[0])
    assert answer.code == 2 and "INPUT" in answer.err
    answer = chainrule("predict", trained_text[0], "--file", "none.txt")
    assert answer.code == 1 and answer.err.startswith("FileError: none.txt cannot be read")


def test_rival_that_is_better_is_said_to_be(small, chainrule, monkeypatch):
    monkeypatch.setattr(text, "tfidf_linear", lambda *parts: 1.0)
    monkeypatch.setattr(text, "majority", lambda *labels: 0.0)
    answer = chainrule("train", "text", "--epochs", 1, "--lr", "1e-6")
    assert "TF-IDF does better than bag here" in answer.out, answer.err
    assert answer.code == 0
    history = json.loads(Path("runs/text-movie-snippets-001/history.json").read_text())
    assert history["baselines"] == {"tfidf_linear": 1.0, "majority": 0.0}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "movie-snippet"], "did you mean 'movie-snippets'"),
        (["--data", "digits"], "unknown text data set"),
        (["--model", "bags"], "did you mean 'bag'"),
    ],
)
def test_unknown_text_data_or_model_is_usage_and_leaves_nothing(chainrule, words, told, tmp_path):
    answer = chainrule("train", "text", *words)
    assert answer.code == 2 and told in answer.err and answer.out == ""
    assert list(tmp_path.iterdir()) == []


def lose_vocabulary(run: Path) -> None:
    (run / "vocabulary.txt").unlink()


def shorten_vocabulary(run: Path) -> None:
    (run / "vocabulary.txt").write_text("good\nfine\n")


def garble_vocabulary(run: Path) -> None:
    (run / "vocabulary.txt").write_bytes(b"\xff\xfe\n")


def lengthen(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "length": 10**9}))


@pytest.mark.parametrize(
    "damage", [lose_vocabulary, shorten_vocabulary, garble_vocabulary, lengthen]
)
def test_damaged_text_run_is_one_typed_line(chainrule, run_text, damage):
    damage(run_text)
    answer = chainrule("predict", run_text, "good")
    assert answer.code == 1 and answer.out == ""
    assert answer.err.startswith("FileError: ") and answer.err.count("\n") == 1
    assert "mend: " in answer.err


def test_ctrl_c_before_training_of_texts_leaves_no_folder(small, chainrule, monkeypatch, tmp_path):
    def pressed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", pressed)
    assert chainrule("train", "text", "--out", "mine").code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("data", "least"), [("movie-snippets", 0.74), ("zh-reviews", 0.80)])
def test_full_training_tells_sentiment(chainrule, data, least, seed):
    if not is_cached(data):
        pytest.skip(f"{data} is not on this machine: chainrule data get {data}")
    found = chainrule("train", "text", "--data", data, "--seed", seed, "--json").json
    assert found["accuracy"] >= least and found["seconds"] < 300
    assert found["baselines"]["tfidf_linear"] > 0.7 > 0.6 > found["baselines"]["majority"]
