"""A student's expression is judged right, or its first mistake is named: 50 expressions."""

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.explain.student import Verdict, check_derivation

DELTA = "2 / N * (o - y) * o * (1 - o)"  # of the output before its sigmoid
SLOPE_1 = r"\frac{\partial h^{(1)}}{\partial z^{(1)}} = 1 - \left(h^{(1)}\right)^{2}"
SLOPE_2 = r"\frac{\partial o}{\partial z^{(2)}} = o \odot \left(1 - o\right)"


@pytest.fixture(scope="module")
def net() -> cr.Sequential:
    """tanh before a sigmoid, so that the two slopes differ."""
    return compiled([nn.Dense(2, "tanh"), nn.Dense(1, "sigmoid")], "mse")


def compiled(layers, loss) -> cr.Sequential:
    made = cr.Sequential(layers)
    made.compile("sgd", loss)
    return made


RIGHT = [
    ("dense/kernel", f"x.T @ (({DELTA}) @ W2.T * (1 - h1**2))"),
    ("dense/kernel", "x.T @ delta1"),
    ("dense/kernel", "np.dot(x.T, (delta2 @ W2.T) * (1 - np.tanh(z1) ** 2))"),
    ("dense/kernel", "x.T @ (delta_h1 * (1 - h1 * h1))"),
    ("dense/kernel", f"x.T @ ((({DELTA}) * W2[:, 0]) * (1 - np.square(h1)))"),
    ("dense/bias", f"(({DELTA}) @ W2.T * (1 - h1**2)).sum(axis=0)"),
    ("dense/bias", "np.sum(delta1, axis=0, keepdims=True)"),
    ("dense_1/kernel", f"h1.T @ ({DELTA})"),
    ("dense_1/kernel", "np.einsum('nk,no->ko', h1, delta2)"),
    ("dense_1/kernel", "2 * h1.T @ ((o - y) * sigmoid(z2) * (1 - sigmoid(z2))) / len(x)"),
    ("dense_1/bias", f"np.sum({DELTA}, axis=0)"),
    ("dense_1/bias", "np.mean(2 * (o - y) * np.exp(-z2) / (1 + np.exp(-z2)) ** 2, axis=0)"),
]

WRONG = [
    # the sign
    ("dense/kernel", f"-x.T @ (({DELTA}) @ W2.T * (1 - h1**2))", "sign", ""),
    ("dense/kernel", "x.T @ ((2 / N * (y - o) * o * (1 - o)) @ W2.T * (1 - h1**2))", "sign", ""),
    ("dense/kernel", "x.T @ (delta2 @ W2.T * (1 + h1**2))", "sign", ""),
    ("dense_1/kernel", "h1.T @ (2 / N * (o - y) * o * (1 + o))", "sign", ""),
    ("dense_1/bias", f"-np.sum({DELTA}, axis=0)", "sign", ""),
    # a constant factor
    ("dense/kernel", "x.T @ (((o - y) * o * (1 - o)) @ W2.T * (1 - h1**2))", "missing", "2N"),
    ("dense_1/kernel", "h1.T @ ((o - y) * o * (1 - o))", "missing", "2N"),
    ("dense_1/kernel", "h1.T @ (2 * (o - y) * o * (1 - o))", "missing", "1N"),
    ("dense_1/kernel", "h1.T @ ((o - y) * o * (1 - o)) / N", "missing", "2"),
    ("dense_1/kernel", "2 * h1.T @ delta2", "extra", "2"),
    ("dense_1/bias", "np.mean(delta2, axis=0)", "extra", "1N"),
    ("dense/bias", f"np.sum(2 * (({DELTA}) @ W2.T * (1 - h1**2)), axis=0) / N", "extra", "2N"),
    # a factor of the chain
    ("dense/kernel", f"x.T @ (({DELTA}) @ W2.T)", "missing", SLOPE_1),
    ("dense/kernel", "x.T @ ((2 / N * (o - y)) @ W2.T * (1 - h1**2))", "missing", SLOPE_2),
    ("dense_1/kernel", "h1.T @ (2 / N * (o - y))", "missing", SLOPE_2),
    ("dense/kernel", f"x.T @ (({DELTA}) * (1 - h1**2))", "missing", r"W^{(2)\top}"),
    ("dense/kernel", "x.T @ (delta2 @ W2.T * (1 - h1**2) * (1 - h1**2))", "extra", SLOPE_1),
    ("dense_1/kernel", "h1.T @ (delta2 * o * (1 - o))", "extra", ""),
    ("dense_1/kernel", "h1.T @ delta2 * W2", "extra", "W^{(2)}"),
    # the activation's derivative
    ("dense/kernel", f"x.T @ (({DELTA}) @ W2.T * (1 - z1**2))", "argument", SLOPE_1),
    ("dense/kernel", "x.T @ (delta2 @ W2.T * (1 - np.tanh(h1)**2))", "argument", SLOPE_1),
    ("dense_1/kernel", "h1.T @ (2 / N * (o - y) * z2 * (1 - z2))", "argument", SLOPE_2),
    (
        "dense_1/kernel",
        "h1.T @ (2 / N * (o - y) * sigmoid(o) * (1 - sigmoid(o)))",
        "argument",
        SLOPE_2,
    ),
    ("dense/kernel", f"x.T @ (({DELTA}) @ W2.T * h1 * (1 - h1))", "activation", SLOPE_1),
    ("dense/kernel", f"x.T @ (({DELTA}) @ W2.T * o * (1 - o))", "activation", SLOPE_1),
    ("dense/kernel", "x.T @ (delta2 @ W2.T * (h1 > 0))", "activation", SLOPE_1),
    ("dense_1/kernel", "h1.T @ (2 / N * (o - y) * (1 - o**2))", "activation", SLOPE_2),
    # products
    ("dense/kernel", "x @ (delta2 @ W2.T * (1 - h1**2))", "transpose", ""),
    ("dense/kernel", "x.T @ (delta2 @ W2 * (1 - h1**2))", "transpose", ""),
    ("dense/kernel", "(delta2 @ W2.T * (1 - h1**2)) @ x.T", "order", ""),
    ("dense/kernel", "x.T @ (W2.T @ delta2 * (1 - h1**2))", "order", ""),
    ("dense_1/kernel", "h1.T * delta2", "product", ""),
    ("dense/kernel", "delta1.T @ x", "transpose", ""),
    # sums, letters, what has no name
    ("dense/bias", "delta2 @ W2.T * (1 - h1**2)", "sum", r"\sum_{n}"),
    ("dense/bias", "np.sum(delta2 @ W2.T * (1 - h1**2))", "sum", r"\sum_{n}"),
    ("dense/kernel", "h1.T @ (delta2 @ W2.T * (1 - h1**2))", "replaced", "x"),
    ("dense_1/kernel", "x.T @ delta2", "replaced", "h^{(1)}"),
    ("dense/kernel", "x.T @ delta1 + 0.01 * W1", "extra_term", r"\text{0.01 * W1}"),
    ("dense/kernel", "W1", "unknown", ""),
    ("dense/kernel", "x + W1", "unknown", ""),
]
FRACTIONS = {"2N": r"\frac{2}{N}", "1N": r"\frac{1}{N}"}


@pytest.mark.parametrize(("param", "text"), RIGHT, ids=range(len(RIGHT)))
def test_right_expression_is_judged_right(net, param, text):
    found = check_derivation(net, param, text, x_shape=(2,), lang="en")
    assert found.right and found.verdict == "right" and found.message == "Right."


@pytest.mark.parametrize(("param", "text", "verdict", "factor"), WRONG, ids=range(len(WRONG)))
def test_wrong_expression_has_its_mistake_named(net, param, text, verdict, factor):
    found = check_derivation(net, param, text, x_shape=(2,), lang="en")
    assert (found.right, found.verdict) == (False, verdict), found.message
    assert not factor or found.factor == FRACTIONS.get(factor, factor)
    if found.mended:
        assert check_derivation(net, param, found.mended, x_shape=(2,)).right


def test_second_mistake_is_told_beside_the_first(net):
    text = "h1.T @ ((o - y) * z2 * (1 - z2))"
    found = check_derivation(net, "dense_1/kernel", text, x_shape=(2,), lang="en")
    assert found.verdict == "argument" and found.also == r"\frac{2}{N}"
    assert found.message.endswith("Besides, the factor 2/N is missing.")


@pytest.mark.parametrize(
    ("text", "verdict", "factor"),
    [
        ("x.T @ ((G @ W3.T * (u2 > 0) @ W2.T + G @ W3.T) * (1 - h1**2))", "right", ""),
        ("x.T @ ((G @ W3.T * (u2 > 0) @ W2.T) * (1 - h1**2))", "missing_term", "h^{(2)}"),
        ("x.T @ (G @ W3.T * (1 - h1**2))", "missing_term", "z^{(2)}"),
        ("x.T @ ((G @ W3.T * (u2 > 0) @ W2.T - G @ W3.T) * (1 - h1**2))", "sign", ""),
    ],
)
def test_forgotten_path_past_a_layer_is_named(text, verdict, factor):
    layers = [nn.Dense(3, "tanh"), nn.Residual([nn.Dense(3, "relu")]), nn.Dense(2)]
    net = compiled(layers, "mse")
    found = check_derivation(net, "dense/kernel", text.replace("G", "(o - y) / N"), x_shape=(2,))
    assert found.verdict == verdict and found.factor.endswith(factor)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("h1.T @ ((softmax(o) - Y) / N)", "right"),
        ("h1.T @ ((Y - softmax(o)) / N)", "sign"),
        ("h1.T @ (softmax(o) - Y)", "missing"),
        ("h1.T @ ((softmax(z1) - Y) / N)", "replaced"),
    ],
)
def test_labels_are_rows_of_zeros_and_ones_to_a_student(text, verdict):
    loss = nn.losses.SparseCategoricalCrossentropy(from_logits=True)
    net = compiled([nn.Dense(3, "tanh"), nn.Dense(3)], loss)
    assert check_derivation(net, "dense_1/kernel", text, x_shape=(2,)).verdict == verdict


@pytest.mark.parametrize(
    ("layers", "loss", "text", "factor", "mended"),
    [
        (3, "sparse_categorical_crossentropy", "x.T @ (o - Y) / N", "softmax(o)", "softmax(o) - Y"),
        (3, "sparse_categorical_crossentropy", "x.T @ softmax(o) / N", "softmax(o) - Y", ""),
        (1, "binary_crossentropy", "x.T @ (o - y) / N", "sigmoid(o)", "sigmoid(o) - y"),
        (1, "mae", "x.T @ (o - y) / N", "sign(o - y)", ""),
        (1, "mse", "2 / N * x.T @ (o - y)**2", "o - y", ""),
    ],
)
def test_what_the_loss_does_to_the_output_is_named_where_it_is_forgotten(
    layers, loss, text, factor, mended
):
    net = compiled([nn.Dense(layers)], loss)
    found = check_derivation(net, "dense/kernel", text, x_shape=(2,), lang="en")
    assert (found.verdict, found.factor) == ("replaced", rf"\text{{{factor}}}")
    assert (mended or factor) in found.mended
    assert check_derivation(net, "dense/kernel", found.mended, x_shape=(2,)).right


def test_two_letters_that_changed_places_are_named():
    net = compiled([nn.Dense(3, "tanh"), nn.Dense(3, "tanh"), nn.Dense(1)], "mse")
    text = "x.T @ ((delta3 @ W2.T * (1 - h2**2)) @ W3.T * (1 - h1**2))"
    found = check_derivation(net, "dense/kernel", text, x_shape=(2,), lang="en")
    assert (found.verdict, found.where, found.factor) == ("replaced", "W2", "W^{(3)}")
    assert check_derivation(net, "dense/kernel", found.mended, x_shape=(2,)).right


def test_factor_of_one_term_alone_is_named():
    layers = [nn.Dense(2, kernel_regularizer=nn.regularizers.L2(0.01)), nn.Dense(1)]
    net = compiled(layers, "mse")
    text = "x.T @ (2 / N * (o - y) @ W2.T) + 0.01 * W1"
    found = check_derivation(net, "dense/kernel", text, x_shape=(2,), lang="en")
    assert found.message.startswith("Wrong: the factor 2 is missing.")
    assert check_derivation(net, "dense/kernel", found.mended, x_shape=(2,)).right


def test_forgotten_difference_is_named_with_a_line_that_is_right(net):
    text = "2 / N * h1.T @ (o * (1 - o))"
    found = check_derivation(net, "dense_1/kernel", text, x_shape=(2,), lang="en")
    assert (found.verdict, found.factor) == ("missing", r"\text{o - y}")
    assert check_derivation(net, "dense_1/kernel", found.mended, x_shape=(2,)).right


def test_row_is_no_column():
    net = compiled([nn.Dense(1)], "mse")
    found = check_derivation(net, "dense/kernel", "2 / N * (o - y).T @ x", x_shape=(2,))
    assert found.verdict == "transpose"
    assert check_derivation(net, "dense/kernel", found.mended, x_shape=(2,)).right


def test_sum_over_the_examples_is_told_beside_a_constant():
    net = compiled([nn.Dense(1)], "mse")
    found = check_derivation(net, "dense/bias", "2 * (o - y)", x_shape=(2,))
    assert (found.verdict, found.also) == ("sum", r"\frac{1}{N}")


@pytest.mark.parametrize(
    "text", ["x.T @ delta1", "x.T @ (delta2 @ W2.T)", "x.T @ ((z2-y)/N @ W2.T)"]
)
def test_layer_without_activation_has_its_z_and_delta(text):
    net = compiled([nn.Dense(3), nn.Dense(2)], "mse")
    assert check_derivation(net, "dense/kernel", text, x_shape=(2,)).right


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "text", ["x.T @ (delta2 @ W2.T)", "2 / 0", "x.T @ (delta1 / (x[:, :1] * 0))"]
)
def test_judging_a_relu_layer_or_a_division_by_zero_warns_of_nothing(text):
    net = compiled([nn.Dense(3, "relu"), nn.Dense(1)], "mse")
    assert not check_derivation(net, "dense/kernel", text, x_shape=(2,)).right


def test_derivative_of_relu_is_put_for_all_of_what_stood_there():
    net = compiled([nn.Dense(3, "relu"), nn.Dense(1)], "mse")
    text = "x.T @ (delta2 @ W2.T * np.maximum(z1, 0))"
    found = check_derivation(net, "dense/kernel", text, x_shape=(2,))
    assert found.where == "np.maximum(z1, 0)"
    assert found.mended == "x.T @ (delta2 @ W2.T * (0 < h1))"


@pytest.mark.parametrize("seed", ["a", -1, 0.5])
def test_seed_that_is_no_whole_number_is_refused(net, seed):
    with pytest.raises(ArgumentError, match="seed must be an integer"):
        check_derivation(net, "dense/kernel", "x", x_shape=(2,), seed=seed)


def test_layers_that_loop_are_judged_by_what_stands_around_them():
    net = compiled([nn.SimpleRNN(3), nn.Dense(1)], "mse")
    good, bad = "H1.T @ (2 / N * (o - y))", "H1.T @ (o - y)"
    assert check_derivation(net, "dense/kernel", good, x_shape=(4, 2)).right
    assert check_derivation(net, "dense/kernel", bad, x_shape=(4, 2)).factor == r"\frac{2}{N}"


def test_verdict_speaks_both_languages_and_reads_back_from_json(net):
    text = "h1.T @ ((o - y) * o * (1 - o))"
    found = check_derivation(net, "dense_1/kernel", text, x_shape=(2,))
    assert "缺少因子 2/N" in found.to_text(lang="zh")
    assert "the factor 2/N is missing" in found.to_text(lang="en")
    assert Verdict.from_json(found.to_json()) == found


def test_what_has_no_name_is_told_by_shape_or_by_entry(net):
    def told(text):
        return check_derivation(net, "dense/kernel", text, x_shape=(2,), lang="en").message

    assert "shape (2, 2); the expression gives (5, 5)" in told("x @ x.T")
    assert "do not fit each other" in told("x + W1")
    assert "entry (0, 0) is" in told("W1")


def test_judging_leaves_the_weights_alone_and_repeats_itself(net):
    before = {path: values.tolist() for path, values in net.get_weights().items()}
    first, second = (
        check_derivation(net, "dense/kernel", "x.T @ delta2", x_shape=(2,)) for _ in range(2)
    )
    assert first == second
    assert before == {path: values.tolist() for path, values in net.get_weights().items()}


def test_unknown_name_is_told_with_the_nearest_one(net):
    with pytest.raises(UnknownNameError, match="column 8: 'delta_1'"):
        check_derivation(net, "dense/kernel", "x.T @ (delta_1)", x_shape=(2,))
    with pytest.raises(UnknownNameError, match="parameter 'dense/weight'"):
        check_derivation(net, "dense/weight", "x", x_shape=(2,))


def test_own_gradient_is_no_letter_to_answer_with(net):
    with pytest.raises(UnknownNameError):
        check_derivation(net, "dense/kernel", "delta_W1", x_shape=(2,))
