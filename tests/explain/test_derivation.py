"""The derivation of a network: as in the textbook, for every layer, and equal to the engine."""

import re
from fractions import Fraction

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import ArgumentError, GradientError
from chainrule.explain.backward import backward_pass
from chainrule.explain.derivation import Derivation, derivation, forward_pass
from chainrule.explain.formula import MINUS, Apply, N, Number, Product, Symbol, product, total
from chainrule.explain.points import Problem, name_of
from chainrule.explain.writing import latex
from chainrule.nn.module import LAYERS
from tests.explain.term_reader import Unwritten, value_of

H, X = Symbol("h", 1), Symbol("x")
ONE_TERM, MINUS_TERM = Product(), Product(MINUS)
OURS = [cls for cls in LAYERS.values() if cls.__module__.startswith("chainrule.")]
TWO_TWO_ONE = """\
Backward: from the loss to the parameters
the loss
  δₒ = 2/N (o - y)   (N, 1)
layer 2: dense_1 (Dense)
  δ⁽²⁾ = δₒ ⊙ o ⊙ (1 - o)   (N, 1)
  ∂L/∂W⁽²⁾ = h⁽¹⁾ᵀ δ⁽²⁾   (2, 1)
  ∂L/∂b⁽²⁾ = Σₙ δ⁽²⁾   (1,)
  δ⁽¹⁾ₕ = δ⁽²⁾ W⁽²⁾ᵀ   (N, 2)
layer 1: dense (Dense)
  δ⁽¹⁾ = δ⁽¹⁾ₕ ⊙ h⁽¹⁾ ⊙ (1 - h⁽¹⁾)   (N, 2)
  ∂L/∂W⁽¹⁾ = xᵀ δ⁽¹⁾   (2, 2)
  ∂L/∂b⁽¹⁾ = Σₙ δ⁽¹⁾   (2,)"""


def two_two_one() -> cr.Sequential:
    return cr.Sequential([nn.Dense(2, "sigmoid"), nn.Dense(1, "sigmoid")])


class OfLayer(cr.Model):
    """A layer, and after it one that is known; of several outputs the first."""

    def __init__(self, layer):
        super().__init__()
        self.inner = layer

    def call(self, x, *, training=False):
        y = self.inner(x, training=training)
        return y[0] if isinstance(y, tuple) else y


def of_sample(cls) -> tuple:
    args = cls.sample["args"]
    layer = cls(*(args() if callable(args) else args), **cls.sample.get("kwargs", {}))
    shape = cls.sample["input"]
    examples = tuple(tuple(each[1:]) for each in shape) if isinstance(shape, list) else shape[1:]
    return OfLayer(layer), examples


def test_backward_pass_of_a_2_2_1_net_is_that_of_the_textbook():
    assert derivation(two_two_one(), "mse", (2,), lang="en").to_text().endswith(TWO_TWO_ONE)


def test_derivation_speaks_chinese_with_the_same_formulas():
    made = derivation(two_two_one(), "mse", (2,))
    assert "反向传播：从损失到各参数" in made.to_text(lang="zh")
    formulas = [line for line in TWO_TWO_ONE.splitlines() if "=" in line]
    assert all(line in made.to_text(lang="zh") for line in formulas)


def test_model_has_its_derivation_as_a_method_and_remembers_loss_and_shape():
    net = two_two_one()
    net.compile("sgd", "mse")
    net.fit(np.zeros((4, 2)), np.zeros((4, 1)), verbose=0)
    assert net.derivation() == derivation(net, "mse", (2,))


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_derivation_of_every_layer_has_each_gradient_with_its_shape(cls):
    model, examples = of_sample(cls)
    made = derivation(model, "mse", examples)
    named = {letter.symbol: letter for layer in made.layers for letter in layer.letters}
    assert {each.path: each.shape for each in named.values()} == {
        path: tensor.shape for path, tensor in model.named_parameters().items()
    }
    found = {each.left: each for layer in made.layers for each in layer.backward}
    for letter in named.values():
        gradient = found[rf"\frac{{\partial L}}{{\partial {letter.symbol}}}"]
        assert gradient.shape == letter.shape and r"\delta" in gradient.right


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_derivation_of_every_layer_reads_in_every_form(cls):
    model, examples = of_sample(cls)
    made = derivation(model, "mse", examples)
    assert Derivation.from_json(made.to_json()) == made
    assert "\\" not in made.to_text() and not re.search(r"#\d", made.to_text())
    assert all(len(line) <= 80 for line in made.to_text().splitlines())
    assert "<sup>" in made.to_html() and "\\" not in made.to_html()
    latex = made.to_latex()
    assert latex.count("{") == latex.count("}") and not re.search(r"#\d", latex)
    assert latex.count(r"\left") == latex.count(r"\right")
    assert not re.search(r"(\^\{[^{}]*\}){2}|(_\{[^{}]*\}){2}", latex), "a double script"


def worked_out(model, loss, examples) -> tuple[set[str], set[str]]:
    """The equations that hold at a random point, and those that do not say what they are worth."""
    path = next(iter(model.build_for((1, *examples)).named_parameters()))
    problem = Problem(model, path, loss, examples, N)
    net, point = problem.net, problem.point(0)
    letters = [net.names[n] for n in problem.values]
    letters += [net.names[n].adjoint for n in problem.flow]
    values = {letter: point.names[name_of(letter)] for letter in letters}
    held, open_ = set(), set()
    backward = backward_pass(net.order, net.names, net.wanted, net.parameters, net.loops, net.twins)
    for each in (*forward_pass(net), *backward):
        left = each.left if each.kind == "value" else each.left.adjoint
        try:
            right = value_of(each.right, values)
        except Unwritten:
            open_.add(name_of(left))
            continue
        expected = np.asarray(values[left])
        right = np.broadcast_to(right, expected.shape) if right.size < expected.size else right
        np.testing.assert_allclose(
            right.reshape(expected.shape), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max()
        )
        held.add(name_of(left))
    return held, open_


NETS = {
    "sigmoid": (lambda: [nn.Dense(3, "sigmoid"), nn.Dense(2, "tanh")], "mse", (2,)),
    "relu": (lambda: [nn.Dense(3, "relu"), nn.Dense(2, "gelu"), nn.Dense(2, "elu")], "mae", (2,)),
    "softmax": (
        lambda: [nn.Dense(3, "softplus"), nn.Dense(3)],
        nn.losses.CategoricalCrossentropy(from_logits=True),
        (2,),
    ),
    "logistic": (lambda: [nn.Dense(1, "sigmoid")], "binary_crossentropy", (2,)),
    "hinge": (lambda: [nn.Dense(2, "silu")], "hinge", (3,)),
    "huber": (lambda: [nn.Dense(2, "selu")], "huber", (3,)),
    "residual": (lambda: [nn.Dense(2), nn.Residual([nn.Dense(2, "tanh")])], "mse", (2,)),
    "layer norm": (lambda: [nn.Dense(3), nn.LayerNormalization()], "log_cosh", (2,)),
    "rms norm": (lambda: [nn.Dense(3), nn.RMSNormalization()], "mse", (4, 2)),
    "batch norm": (lambda: [nn.Dense(3), nn.BatchNormalization(), nn.Dense(1)], "mse", (2,)),
    "attention": (lambda: [nn.Dense(4), nn.MultiHeadAttention(2, 2)], "mse", (3, 2)),
    "regularised": (lambda: [nn.Dense(2, kernel_regularizer="l2"), nn.Dense(1)], "mse", (2,)),
}


@pytest.mark.parametrize("name", NETS)
def test_written_equations_worked_out_are_the_engine_values(name):
    layers, loss, examples = NETS[name]
    held, open_ = worked_out(cr.Sequential(layers()), loss, examples)
    assert not open_ or name == "attention", open_  # which swaps axes, and does not say which
    assert {"L", "o", "delta_o"} <= held
    assert any(each.startswith("delta_W") for each in held)


def test_mean_that_a_layer_takes_twice_has_one_letter():
    net = cr.Sequential([nn.Dense(3), nn.BatchNormalization(), nn.Dense(1)])
    text = derivation(net, "mse", (2,)).to_text()
    assert "u⁽²⁾₁ = h⁽¹⁾ - 1/N Σₙ h⁽¹⁾" in text and "u⁽²⁾₃" not in text
    assert "δ⁽¹⁾ₕ = δ⁽²⁾[u,1] - 1/N Σₙ δ⁽²⁾[u,1]" in text


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (product(H, H, Product(Number(Fraction(-1, 2), -2))), r"-\frac{1}{2 \, N^{2}} \, H"),
        (product(total(H, ONE_TERM), X), r"\left(h^{(1)} + 1\right) \odot x"),
        (product(H, over=[product(X, X)]), r"\frac{h^{(1)}}{x^{2}}"),
        (product(H, X, over=[X]), "h^{(1)}"),
        (total(H, H, product(MINUS_TERM, X)), r"2 \, h^{(1)} - x"),
        (Apply(r"#1^{\top}", (Apply(r"#1 \, #2", (H, X)),)), r"\left(h^{(1)} \, x\right)^{\top}"),
        (Apply(r"\ln #1", (total(H, X),)), r"\ln \left(h^{(1)} + x\right)"),
        (Apply(r"\tanh(#1)", (total(H, X),)), r"\tanh(h^{(1)} + x)"),
        (Apply("#1_{nk}", (product(H, X),)), r"\left(h^{(1)} \odot x\right)_{nk}"),
        (Apply("#1_{nk}", (H.adjoint,)), r"\delta^{(1)}_{h,nk}"),
        (product(Apply(r"\sum_{n} \, #1", (H,)), X), r"\left(\sum_{n} \, h^{(1)}\right) \odot x"),
    ],
)
def test_terms_are_written_with_the_brackets_they_need(term, text):
    assert latex(term) == text.replace("H", r"\left(h^{(1)}\right)^{2}")


def test_steps_of_a_recurrent_layer_are_written_once_and_summed_over_time():
    net = cr.Sequential([nn.SimpleRNN(3), nn.Dense(1)])
    text = derivation(net, "mse", (5, 2)).to_text()
    assert "h⁽¹⁾₀ = 0 " in text
    assert "a⁽¹⁾ₜ = z⁽¹⁾ₜ + h⁽¹⁾ₜ₋₁ U⁽¹⁾" in text and "h⁽¹⁾ₜ = tanh(a⁽¹⁾ₜ)" in text
    assert "δ⁽¹⁾[h,t] = δ⁽¹⁾[a,t+1] U⁽¹⁾ᵀ + δ⁽¹⁾[H] ⊙ [t = T]" in text
    assert "∂L/∂U⁽¹⁾ = Σₜ h⁽¹⁾ᵀₜ₋₁ δ⁽¹⁾[a,t]" in text


def test_backward_running_layer_counts_its_steps_down():
    net = cr.Sequential([nn.SimpleRNN(3, go_backwards=True), nn.Dense(1)])
    text = derivation(net, "mse", (5, 2)).to_text()
    assert "h⁽¹⁾ₜ₊₁ U⁽¹⁾" in text and "δ⁽¹⁾[a,t-1] U⁽¹⁾ᵀ + δ⁽¹⁾[H] ⊙ [t = 1]" in text


class Translator(cr.Model):
    """An LSTM that begins where another one ended."""

    def __init__(self):
        super().__init__()
        self.read, self.write = nn.LSTM(3, return_state=True), nn.LSTM(3)

    def call(self, x):
        _, h, c = self.read(x)
        return self.write(x, initial_state=(h, c))


def test_first_state_hands_its_derivative_to_the_layer_it_came_from():
    text = derivation(Translator(), "mse", (5, 2)).to_text()
    assert "h⁽²⁾₀ = H⁽¹⁾₁" in text and "δ⁽¹⁾[H,1] = δ⁽²⁾[a,1] U⁽²⁾ᵀ" in text
    assert "c⁽²⁾₀ = H⁽¹⁾₂" in text and "δ⁽¹⁾[H,2] = δ⁽²⁾[c,1] ⊙ u⁽²⁾[2,1]" in text


class Thrice(cr.Model):
    """One layer used three times."""

    def __init__(self):
        super().__init__()
        self.same = nn.Dense(3, "tanh")

    def call(self, x):
        return self.same(self.same(self.same(x)))


def test_shared_weights_add_the_shares_of_every_use():
    made = derivation(Thrice(), "mse", (3,))
    assert "∂L/∂b⁽¹⁾ = Σₙ δ⁽¹⁾[z,3] + Σₙ δ⁽¹⁾[z,2] + Σₙ δ⁽¹⁾[z,1]" in made.to_text()
    held, open_ = worked_out(Thrice(), "mse", (3,))
    assert not open_ and "delta_W1" in held


class Either(cr.Model):
    """A condition, of which only the derivative as a whole can be written."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Dense(3)

    def call(self, x):
        h = self.inner(x)
        return cr.cond(cr.sum(h) > 0, lambda v: v * v, lambda v: v, h)


def test_condition_is_written_by_its_whole_derivative():
    text = derivation(Either(), "mse", (3,)).to_text()
    assert "δ⁽¹⁾ = δₒ ∂o/∂z⁽¹⁾" in text


def test_several_outputs_have_a_letter_each_and_one_loss():
    class Pair(cr.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Dense(1), nn.Dense(2)

        def call(self, x):
            return self.a(x), self.b(x)

    text = derivation(Pair(), "mse", (3,)).to_text()
    assert "L = 1/N Σ (o₁ - y₁)² + 1/(2 N) Σ (o₂ - y₂)²" in text


@pytest.mark.parametrize(
    "block",
    [
        lambda: [nn.Dense(8, "relu")],
        lambda: [nn.Residual([nn.LayerNormalization(), nn.Dense(8, "gelu"), nn.Dropout(0.1)])],
    ],
)
def test_net_of_50_blocks_stays_within_two_screens_and_says_what_it_folds(block):
    layers = [layer for _ in range(50) for layer in block()]
    net = cr.Sequential([nn.Dense(8), *layers, nn.Dense(3)])
    loss = nn.losses.SparseCategoricalCrossentropy(from_logits=True)
    made = derivation(net, loss, (4,), lang="en")
    assert "50 alike" in made.to_text() and len(made.to_text().splitlines()) <= 100
    assert len({n for layer in made.layers for n in layer.numbers}) >= 52


def test_layers_that_differ_in_width_alone_are_folded_and_it_says_so():
    net = cr.Sequential([*(nn.Dense(4 + i, "tanh") for i in range(49)), nn.Dense(1)])
    made = derivation(net, "mse", (4,), lang="en")
    text = made.to_text()
    assert "48 alike" in text and len(text.splitlines()) < 50
    assert "… stands for a size" in text and "W⁽ˡ⁾ : (…, …)" in text and "W⁽⁵⁰⁾ : (52, 1)" in text
    assert Derivation.from_json(made.to_json()) == made


NUMBERED = {
    "norm": (
        lambda: [nn.Dense(4), nn.BatchNormalization(), nn.Activation("relu"), nn.Dense(1)],
        (3,),
    ),
    "convolution": (
        lambda: [nn.Conv2D(2, 3), nn.MaxPooling2D(2), nn.Flatten(), nn.Dense(1)],
        (8, 8, 1),
    ),
    "attention": (lambda: [nn.MultiHeadAttention(2, 3), nn.Flatten(), nn.Dense(1)], (4, 6)),
    "two ways": (lambda: [nn.Bidirectional(nn.GRU(2)), nn.Dense(1)], (3, 2)),
    "residual": (lambda: [nn.Dense(3), nn.Residual([nn.Dense(3, "relu")]), nn.Dense(1)], (2,)),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_parameter_has_the_same_symbol_in_a_derivation_as_in_an_explanation(name):
    layers, examples = NUMBERED[name]
    net = cr.Sequential(layers(), seed=0)
    net.compile("sgd", "mse")
    x, y = np.ones((2, *examples), np.float32), np.zeros((2, 1), np.float32)
    net.predict(x)
    made = derivation(net, "mse", examples)
    symbols = {each.path: each.symbol for layer in made.layers for each in layer.letters}
    explained = {path: cr.explain(net, x, y, path, check="none").symbol for path in symbols}
    assert explained == symbols and set(symbols) == set(net.named_parameters())


def test_layer_that_is_used_again_after_another_keeps_its_number():
    class Again(cr.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Dense(3, "tanh"), nn.Dense(3, "tanh")

        def call(self, x):
            return self.a(self.b(self.a(x)))

    made = derivation(Again(), "mse", (3,))
    assert [layer.number for layer in made.layers] == [1, 2, 1, None]
    held, open_ = worked_out(Again(), "mse", (3,))
    assert not open_ and "delta_W1" in held


def test_cross_entropy_and_absolute_error_hand_back_what_a_textbook_says():
    loss = nn.losses.CategoricalCrossentropy(from_logits=True)
    text = derivation(cr.Sequential([nn.Dense(3)]), loss, (2,)).to_text()
    assert "δₒ = 1/N (Σₖ y) ⊙ softmax(o) - 1/N y" in text
    text = derivation(cr.Sequential([nn.Dense(1)]), "mae", (2,)).to_text()
    assert "δₒ = 1/N sign(o - y)" in text


def test_latex_escapes_the_names_of_layers_and_says_what_the_letters_are():
    class Odd(cr.Model):
        def __init__(self):
            super().__init__()
            setattr(self, "a_b%$#\\{}~^&", nn.Dense(1))

        def call(self, x):
            return getattr(self, "a_b%$#\\{}~^&")(x)

    text = derivation(Odd(), "mse", (2,), lang="en").to_latex()
    escaped = r"a\_b\%\$\#\textbackslash{}\{\}\textasciitilde{}\textasciicircum{}\&"
    assert rf"\paragraph{{layer 1: {escaped} (Dense)}}" in text
    assert rf"$W^{{(1)}}$: $2 \times 1$ \texttt{{{escaped}/kernel}}" in text
    assert text.startswith(r"\section*{The backward pass of odd}")


def test_derivation_of_what_is_no_model_is_refused():
    with pytest.raises(ArgumentError, match="of a model or a layer, got int"):
        derivation(3, "mse", (2,))


def test_derivation_computes_nothing_and_changes_nothing():
    net = cr.Sequential([nn.BatchNormalization(), nn.Dense(1)]).build_for((2, 3))
    before = net.get_weights()
    derivation(net, "mse", (3,))
    assert all(np.array_equal(before[path], now) for path, now in net.get_weights().items())


def test_derivation_says_what_it_lacks():
    net = two_two_one()
    with pytest.raises(ArgumentError, match="compile was not called"):
        net.derivation(x_shape=(2,))
    with pytest.raises(ArgumentError, match="shape of an example is not known"):
        net.derivation("mse")
    with cr.record(), pytest.raises(GradientError, match="while something else records"):
        net.derivation("mse", (2,))
