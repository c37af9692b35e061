"""`with cr.record():` and `cr.gradient`; State under every transform; errors and their place."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr


class Counter:
    """A thing with a State: how often it was called, and the running mean of what it saw."""

    def __init__(self) -> None:
        self.calls = cr.State(np.zeros((), np.float32))
        self.mean = cr.State(np.zeros(2, np.float32))

    def __call__(self, w, x):
        self.calls.renew(self.calls + 1)
        self.mean.renew(self.mean * 0.5 + cr.stop_gradient(x) * 0.5)
        return cr.sum(w * x) + cr.sum(self.mean * w)


def test_gradient_inside_and_after_the_block_is_one() -> None:
    w, x = cr.Tensor(np.array([1.0, 2.0])), np.array([3.0, 4.0])
    with cr.record():
        loss = cr.sum((w * x) ** 2)
        inside = cr.gradient(loss, w)
        assert float(loss) == 73.0, "values are visible while recording"
    after = cr.gradient(loss, w)
    for g in (inside, after):
        np.testing.assert_array_equal(g, 2 * w.numpy() * x**2)


def test_gradient_takes_a_tree_and_leaves_none_where_there_is_none() -> None:
    tree = {"w": cr.Tensor(np.ones(2)), "n": 3, "ids": cr.Tensor(np.array([1, 2]))}
    with cr.record():
        loss = cr.sum(tree["w"] * 2.0)
    g = cr.gradient(loss, tree)
    np.testing.assert_array_equal(g["w"], [2, 2])
    assert g["n"] is None and g["ids"] is None


def test_gradient_of_an_intermediate_value() -> None:
    x = cr.Tensor(np.array([1.0, 2.0]))
    with cr.record():
        h = x * x
        loss = cr.sum(h * 3.0)
    np.testing.assert_array_equal(cr.gradient(loss, h), [3, 3])


def test_gradient_of_an_unrecorded_loss_says_how_to_mend_it() -> None:
    w = cr.Tensor(np.ones(2))
    with pytest.raises(cr.GradientError, match="only computed") as caught:
        cr.gradient(cr.sum(w), w)
    assert "with cr.record():" in str(caught.value)


def test_gradient_in_an_unused_tensor_says_so() -> None:
    w, other = cr.Tensor(np.ones(2)), cr.Tensor(np.ones(2))
    with cr.record():
        loss = cr.sum(w)
    with pytest.raises(cr.GradientError, match="not used while the loss was recorded"):
        cr.gradient(loss, other)


def test_records_do_not_nest() -> None:
    with cr.record(), pytest.raises(cr.GradientError, match="recorded already"), cr.record():
        pass


def test_recorded_values_go_on_after_the_block() -> None:
    x = cr.Tensor(np.ones(2))
    with cr.record():
        y = x + 1
    np.testing.assert_array_equal(y * 2, [4, 4])
    with cr.record():
        z = cr.sum(y * y)
    np.testing.assert_array_equal(cr.gradient(z, y), [4, 4])


def test_an_exception_ends_the_recording() -> None:
    with pytest.raises(ZeroDivisionError), cr.record():
        1 // 0  # noqa: B018
    with cr.record():
        pass


def test_grad_inside_a_record_is_recorded() -> None:
    w = cr.Tensor(np.array([1.0, 2.0]))
    with cr.record():
        slope = cr.grad(lambda w: cr.sum(w * w * w))(w)
        size = cr.sum(slope * slope)
    np.testing.assert_allclose(cr.gradient(size, w), 36 * w.numpy() ** 3)


def recorded_call(counter, w, x):
    with cr.record():
        loss = counter(w, x)
    return loss, cr.gradient(loss, w)


def compiled_call(counter, w, x):
    return cr.jit(cr.value_and_grad(lambda w, x: counter(w, x)))(w, x)


def eager_call(counter, w, x):
    return cr.value_and_grad(counter)(w, x)


@pytest.mark.parametrize("call", [eager_call, recorded_call, compiled_call])
def test_state_is_renewed_once_per_call(call) -> None:
    counter, w = Counter(), cr.Tensor(np.float32([1, -1]))
    for step in range(1, 4):
        x = np.float32([step, 2 * step])
        before = counter.mean.numpy().copy()
        loss, g = call(counter, w, x)
        assert counter.calls.item() == step
        mean = before * 0.5 + x * 0.5
        np.testing.assert_allclose(counter.mean, mean, rtol=1e-6)
        np.testing.assert_allclose(g, x + mean, rtol=1e-6)
        assert loss.item() == pytest.approx(np.sum(w.numpy() * (x + mean)), rel=1e-5)


def test_state_read_after_its_renewal_is_the_new_one() -> None:
    state = cr.State(np.float32(1))

    def fn(x):
        state.renew(state * 2)
        state.renew(state + 1)
        return x * state

    assert cr.grad(fn)(2.0).item() == 3.0 and state.item() == 3.0
    assert cr.jit(fn)(2.0).item() == 14.0 and state.item() == 7.0


def test_state_has_no_gradient() -> None:
    state = cr.State(np.float32([1, 2]))
    g = cr.grad(lambda p: cr.sum(p["w"] * p["s"]))({"w": np.float32([3, 4]), "s": state})
    assert g["s"] is None
    np.testing.assert_array_equal(g["w"], [1, 2])


def test_state_keeps_its_shape() -> None:
    with pytest.raises(cr.ShapeError, match=r"float32\[2\] cannot become float32\[3\]"):
        cr.State(np.zeros(2, np.float32)).renew(np.zeros(3, np.float32))


def test_state_under_vmap_is_refused() -> None:
    counter = Counter()
    with pytest.raises(cr.ArgumentError, match="examples would race"):
        cr.vmap(lambda x: counter(np.float32([1, 1]), x))(np.ones((3, 2), np.float32))
    assert counter.calls.item() == 0


@pytest.mark.parametrize("ask", [bool, int, float, np.asarray, lambda x: x.item()])
def test_a_traced_value_names_where_and_the_users_line(ask) -> None:
    def fn(x):
        return ask(cr.sum(x))  # the line that asks

    with pytest.raises(cr.TraceError, match="not known here") as caught:
        cr.jit(fn)(np.ones(3, np.float32))
    text = str(caught.value)
    assert "cr.where" in text and "test_record.py" in text


def test_two_dtypes_do_not_mix() -> None:
    a, b = np.ones(2, np.float32), np.ones(2, np.float64)
    for fn in (cr.add, cr.matmul):
        with pytest.raises(cr.DtypeError, match=r"float32 and float64.*do not mix") as caught:
            fn(a, b)
        assert "cr.cast(x, 'float32')" in str(caught.value)


def test_a_shape_error_shows_the_users_line() -> None:
    with pytest.raises(cr.ShapeError) as caught:
        cr.Tensor(np.ones((2, 3))) @ cr.Tensor(np.ones((4, 5)))  # the product
    text = str(caught.value)
    assert "got (2, 3) @ (4, 5)" in text and "# the product" in text and "mend:" in text
    with pytest.raises(cr.ShapeError, match=r"got \(2, 3\) and \(4,\)") as caught:
        cr.grad(lambda x: cr.sum(x + np.ones(4)))(np.ones((2, 3)))  # the sum
    assert "# the sum" in str(caught.value)
