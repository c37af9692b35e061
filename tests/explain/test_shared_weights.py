"""A weight that is used twice: each example, time and position has one row, with one label each."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explain.explain import explain


def compiled(model, x, loss="mse"):
    model.compile("sgd", loss)
    model.predict(x)
    return model


class Twice(cr.Model):
    """A weight that is used along the examples, and along the positions of what is turned over."""

    def __init__(self):
        super().__init__(seed=1)
        self.last = nn.Dense(2)

    def build(self, shape):
        self.parameter("a", (3,), "ones")

    def call(self, x, training=False):
        turned = cr.transpose(x) * cr.reshape(self.a, (3, 1))
        return self.last(x * self.a + cr.transpose(cr.tanh(turned)))


class Around(cr.Model):
    """The kernel of a recurrent layer that also reads the first step by itself."""

    def __init__(self):
        super().__init__(seed=1)
        self.rnn, self.last = nn.SimpleRNN(3), nn.Dense(1)

    def call(self, x, training=False):
        return self.last(self.rnn(x) + cr.matmul(x[:, 0], self.rnn.cell.kernel))


class Tied(cr.Model):
    """An embedding whose table gives the logits too."""

    def __init__(self):
        super().__init__(seed=1)
        self.words = nn.Embedding(5, 3)

    def call(self, x, training=False):
        return cr.mean(self.words(x), axis=1) @ cr.transpose(self.words.embeddings)


class Shared(cr.Model):
    """One layer called twice."""

    def __init__(self):
        super().__init__(seed=1)
        self.b, self.last = nn.Dense(3, "tanh"), nn.Dense(1)

    def call(self, x, training=False):
        return self.last(self.b(self.b(x)))


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


WORDS = np.array([[1, 2], [3, 3], [0, 1]])
CASES = {
    "turned over": (Twice, drawn(5, 3), drawn(5, 2), "mse", "a", (1,)),
    "recurrent": (Around, drawn(4, 5, 2), drawn(4, 1), "mse", "rnn/cell/kernel", (0, 1)),
    "tied": (
        Tied,
        WORDS,
        np.array([1, 2, 3]),
        "sparse_categorical_crossentropy",
        "words/embeddings",
        (1, 0),
    ),
    "called twice": (Shared, drawn(4, 3), drawn(4, 1), "mse", "b/kernel", (0, 1)),
}
BY = ["example", "time", "position", "lookup", ("example", "time"), ("example", "position")]


@pytest.mark.parametrize("case", CASES)
def test_rows_of_a_weight_used_twice_have_different_labels(case):
    make, x, y, loss, path, index = CASES[case]
    model = compiled(make(), x, loss)
    made = []
    for by in [*BY, "use"]:
        try:
            found = explain(model, x, y, path, index, by=by, topk=99, check="none", lang="en")
        except cr.ArgumentError:
            continue  # a weight that is not used along such an axis
        (each,) = found.partitions
        made.append(by)
        places = [frozenset(part.labels) for part in each.parts]
        assert len(set(places)) == len(places)
        assert each.error <= 1e-9 * each.mass
        table = found.page().blocks[-2]
        assert all(len(row.cells) == len(table.headings) for row in table.rows[: len(each.parts)])
    assert {"example", "use"} <= {*made}


def test_example_of_a_weight_used_twice_is_its_own_gradient():
    make, x, y, loss, path, index = CASES["turned over"]
    model = compiled(make(), x, loss)
    found = explain(model, x, y, path, index, by="example", topk=9, check="none").partitions[0]
    assert [len(part.labels) for part in found.parts] == [1] * 5
    for part in found.parts:
        n = part.labels[0][1]
        alone = explain(model, x[n : n + 1], y[n : n + 1], path, index, check="none")
        assert np.isclose(part.value, alone.gradient / 5, rtol=1e-6)


def test_column_of_each_axis_is_blank_where_a_use_has_none():
    make, x, y, loss, path, index = CASES["tied"]
    model = compiled(make(), x, loss)
    found = explain(model, x, y, path, index, by="lookup", topk=99, check="none", lang="en")
    page = found.page()
    table = page.blocks[-2]
    assert table.headings[:2] == ("example", "position")
    cells = [row.cells[:2] for row in table.rows[: len(found.partitions[0].parts)]]
    assert {cell for _, cell in cells} == {"", "0", "1"}
    assert all(example in "012" for example, _ in cells)


def test_use_beside_the_steps_of_a_loop_is_called_the_models():
    make, x, y, loss, path, index = CASES["recurrent"]
    model = compiled(make(), x, loss)
    found = explain(model, x, y, path, index, by="time", topk=9, check="none")
    assert {dict(part.labels).get("time") for part in found.partitions[0].parts} == {
        *range(5),
        None,
    }
    table = found.page("en").blocks[-2]
    assert table.headings[:2] == ("time", "use")
    assert [row.cells[1] for row in table.rows if row.cells[1]] == ["the model"]


def test_calls_of_a_shared_layer_are_told_apart():
    make, x, y, loss, path, index = CASES["called twice"]
    model = compiled(make(), x, loss)
    found = explain(model, x, y, path, index, by="use", check="none").partitions[0]
    assert {part.labels for part in found.parts} == {(("use", "b (1)"),), (("use", "b (2)"),)}


def test_bias_of_a_gru_has_one_part_for_each_step():
    x = drawn(4, 6, 2)
    model = compiled(cr.Sequential([nn.GRU(3), nn.Dense(1)], seed=0), x)
    y = drawn(4, 1)
    for path, tensor in model.named_parameters().items():
        if path.endswith("cell/bias"):
            index = (0,) * len(tensor.shape)
            found = explain(model, x, y, path, index, by="time", topk=9, check="none")
            each = found.partitions[0]
            assert len(each.parts) + each.others.count <= 6


def test_place_of_a_cut_at_the_models_own_output_is_said():
    make, x, y, loss, path, index = CASES["tied"]
    model = compiled(make(), x, loss)
    text = explain(model, x, y, path, index, by="output", check="none", lang="en").to_text()
    assert "by output, at the model's output" in text
    make, x, y, loss, path, index = CASES["turned over"]
    text = explain(compiled(make(), x), x, y, path, index, by="example", lang="en").to_text()
    assert "by example, where the parameter is read" in text


def test_embedding_of_one_id_has_one_table_by_lookup():
    model = compiled(
        cr.Sequential([nn.Embedding(5, 2), nn.Dense(1)], seed=0), ids := np.array([1, 2, 1])
    )
    found = explain(model, ids, drawn(3, 1), "embedding/embeddings", (1, 0), check="none")
    assert [each.by for each in found.partitions].count(("example",)) == 0
    assert found.partitions[0].by == ("lookup",)
