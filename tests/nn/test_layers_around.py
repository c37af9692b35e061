"""Layers around a layer: both ways along time, and at each step by itself."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from tests.nn.test_recurrent import HOLES, RIGHT, RNG, X, close, raised, ready


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [True, False])
def test_both_ways_are_joined_as_said(mode, sequences):
    both = ready(nn.Bidirectional(nn.GRU(3, return_sequences=sequences), merge_mode=mode))
    ahead, back = both.forward_layer, both.backward_layer
    y, z = np.array(ahead(X)), np.array(back(X))
    z = z[:, ::-1] if sequences else z
    wanted = {
        "concat": lambda: np.concatenate([y, z], -1),
        "sum": lambda: y + z,
        "mul": lambda: y * z,
        "ave": lambda: (y + z) / 2,
        None: lambda: (y, z),
    }[mode]()
    for found, value in zip(cr.flatten(both(X))[0], cr.flatten(wanted)[0], strict=True):
        close(found, value)
    mirrored = ready(nn.GRU(3, return_sequences=sequences))
    for name, tensor in mirrored.named_parameters().items():
        tensor.assign(np.array(back.named_parameters()[name]))
    once = np.array(mirrored(X[:, ::-1]))
    close(back(X), once)


def test_both_ways_have_names_states_and_masks():
    both = ready(nn.Bidirectional(nn.LSTM(2, return_sequences=True, return_state=True)))
    names = [f"{w}_lstm/cell/{p}" for w in ("forward", "backward") for p in ("kernel", "bias")]
    assert set(names) <= set(both.named_parameters()) and len(both.named_parameters()) == 6
    y, *states = both(X, mask=RIGHT)
    assert y.shape == (2, 5, 4) and len(states) == 4
    close(y[0, 3:], np.zeros((2, 4)))
    close(both(X[:1, :3])[0], np.array(y)[:1, :3])
    again = both(X, initial_state=states)[0]
    close(again[..., :2], np.array(both.forward_layer(X, initial_state=states[:2])[0]))
    found = cr.check_gradient(lambda x: cr.sum(both(x, mask=HOLES)[0] ** 2), [X])
    assert found, found


def test_the_way_back_can_be_another_layer():
    both = nn.Bidirectional(nn.LSTM(2), backward_layer=nn.GRU(3, go_backwards=True))
    assert both(X).shape == (2, 5)
    with pytest.raises(cr.ArgumentError, match="go_backwards"):
        nn.Bidirectional(nn.LSTM(2), backward_layer=nn.GRU(3))
    with pytest.raises(cr.ArgumentError, match="return_sequences"):
        back = nn.GRU(3, go_backwards=True, return_sequences=True)
        nn.Bidirectional(nn.LSTM(2), backward_layer=back)


def test_stateful_ways_begin_anew_after_reset():
    both = ready(nn.Bidirectional(nn.GRU(2, stateful=True)))
    first, second = np.array(both(X)), np.array(both(X))
    assert not np.allclose(first, second)
    both.reset_states()
    close(both(X), first)


def test_each_step_goes_through_the_layer_by_itself():
    layer = ready(nn.TimeDistributed(nn.Dense(4, "tanh")))
    close(layer(X), np.stack([np.array(layer.layer(X[:, t])) for t in range(5)], 1))
    assert list(layer.named_parameters()) == ["layer/kernel", "layer/bias"]
    images = RNG(0).normal(size=(2, 3, 6, 6, 1)).astype(np.float32)
    assert nn.TimeDistributed(nn.Conv2D(2, 3))(images).shape == (2, 3, 4, 4, 2)


def test_masks_of_words_become_masks_of_sentences():
    ids = np.array([[[3, 1, 0], [2, 0, 0], [0, 0, 0]], [[1, 2, 4], [0, 0, 0], [0, 0, 0]]])
    words = nn.TimeDistributed(nn.Embedding(5, 2, mask_zero=True))
    sentence = nn.TimeDistributed(nn.GRU(3))
    mask = words.compute_mask(ids)
    np.testing.assert_array_equal(mask, ids != 0)
    y = words(ids)
    found = sentence(y, mask=mask).numpy()
    for t in range(3):
        np.testing.assert_allclose(
            found[:, t], sentence.layer(y[:, t], mask=ids[:, t] != 0), rtol=1e-6
        )
    after = sentence.compute_mask(y, mask)
    np.testing.assert_array_equal(after, (ids != 0).any(-1))
    whole = cr.Sequential([words, sentence, nn.GRU(2)])
    np.testing.assert_allclose(whole(ids)[1:], whole(ids[1:, :1]), rtol=1e-5)


def test_a_mask_of_ids_reaches_layers_down_the_chain():
    ids = np.array([[4, 2, 0, 0], [1, 3, 2, 5]])
    model = cr.Sequential(
        [
            nn.Embedding(6, 3, mask_zero=True),
            nn.Bidirectional(nn.LSTM(4, return_sequences=True)),
            nn.TimeDistributed(nn.Dense(3)),
            nn.GRU(2),
        ]
    )
    y = model(ids).numpy()
    np.testing.assert_allclose(model(ids[:1, :2]).numpy(), y[:1], rtol=1e-5)
    weights = model.get_weights()
    weights["embedding/embeddings"][0] += 7
    model.set_weights(weights)
    np.testing.assert_array_equal(model(ids), y)


def test_what_cannot_stand_inside_is_refused():
    for wrong in (nn.Dense(3), nn.LSTMCell(3)):
        text = raised(cr.ArgumentError, partial(nn.Bidirectional, wrong))
        assert "needs a recurrent layer" in text
    built = nn.GRU(2).build_for(X.shape)
    assert "not built yet" in raised(cr.ArgumentError, lambda: nn.Bidirectional(built))
    assert "merge_mode" in raised(cr.ArgumentError, lambda: nn.Bidirectional(nn.GRU(2), "cat"))
    text = raised(cr.ArgumentError, lambda: nn.TimeDistributed("dense"))
    assert "TimeDistributed needs a layer" in text
    first = np.zeros((2, 3))
    text = raised(cr.ArgumentError, lambda: nn.Bidirectional(nn.GRU(3))(X, initial_state=first))
    assert "needs the initial states of both ways" in text


def test_steps_and_their_masks_need_the_axes_of_time():
    layer = nn.TimeDistributed(nn.Dense(2))
    text = raised(cr.ShapeError, lambda: layer(X[0]))
    assert "TimeDistributed needs (batch, time, ...)" in text
    text = raised(cr.ShapeError, lambda: layer(X, mask=RIGHT[:1]))
    assert "TimeDistributed needs a mask of shape (2, 5)" in text
