"""Reading of the text sets, on small files of the same form."""

import numpy as np

from chainrule.data.texts import read_reviews, read_snippets


def test_reviews_drop_repeats_and_those_under_both_labels(tmp_path):
    negative = [f"bad {i}" for i in range(10)] + ["bad 3", "both", "", "  bad 4 "]
    positive = [f"good {i}" for i in range(5)] + ["both", "good 1"]
    (tmp_path / "neg.txt").write_text("\n".join(negative) + "\n", encoding="utf-8")
    (tmp_path / "pos.txt").write_text("\n".join(positive), encoding="utf-8")
    found = read_reviews(tmp_path)
    assert found.x_test == ["bad 0", "bad 5", "good 0"]
    assert found.y_test.tolist() == [0, 0, 1] and found.y_test.dtype == np.int64
    labels = dict(zip(found.x_train, found.y_train.tolist(), strict=True))
    assert len(found.x_train) == len(labels) == 12
    assert labels == {text: int(text.startswith("good")) for text in labels}
    assert "both" not in labels and not set(labels) & set(found.x_test)


def test_snippets_keep_one_of_each_text_with_the_mean_rating(tmp_path):
    rows = ["1\t2.5\tfine, très fine\r", "2\t-1\tdull", "3\t-2\tdull", "4\t0.5\tso so"]
    path = tmp_path / "movieReviewSnippets_GroundTruth.txt"
    path.write_bytes("\n".join(rows).encode())
    found = read_snippets(tmp_path)
    assert found.x_test == ["fine, très fine"] and found.y_test.tolist() == [2.5]
    assert found.x_train == ["dull", "so so"] and found.y_train.tolist() == [-1.5, 0.5]
    assert found.y_train.dtype == np.float32
