"""Reading of movielens-100k, on a small file of the same form."""

import numpy as np

from chainrule.data.ratings import latest_fifth, read_ratings


def test_each_users_latest_fifth_is_held_out(tmp_path):
    rows = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    rows += [f"{user}\t{film}\t{film}\t{100 - film}" for film in (1, 2, 3, 4, 5) for user in (2, 1)]
    (tmp_path / "ml-100k.inter").write_text("\n".join(rows) + "\n")
    titles = "\n".join(f"{film}\tFilm {film}\t199{film}\tDrama" for film in (1, 2, 3, 4, 5))
    (tmp_path / "ml-100k.item").write_text("item_id:token\tmovie_title:token_seq\n" + titles + "\n")
    found = read_ratings(tmp_path)
    assert found.x_test.tolist() == [[1, 0], [0, 0]]  # film 1 was rated last
    assert found.y_test.tolist() == [1, 1] and found.y_test.dtype == np.float32
    assert found.x_train.shape == (8, 2) and found.x_train.dtype == np.int64
    assert np.array_equal(found.y_train, found.x_train[:, 1] + 1)
    assert found.extra["titles"] == ("Film 1", "Film 2", "Film 3", "Film 4", "Film 5")


def test_latest_fifth_equals_a_loop():
    rng = np.random.Generator(np.random.Philox(key=[3, 1]))
    users, times = rng.integers(0, 9, 400), rng.integers(0, 30, 400)
    expected = np.zeros(400, dtype=bool)
    for user in range(9):
        mine = [i for i in range(400) if users[i] == user]
        mine.sort(key=lambda i: (times[i], i))
        expected[mine[len(mine) - len(mine) // 5 :]] = True
    assert np.array_equal(latest_fifth(users, times), expected)
