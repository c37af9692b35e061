"""A transformer of 4 layers, 128 wide, 4 heads, over 128 characters of real text, batch 16, AdamW.

Each layer adds attention and then two dense layers with GELU between, each after a normalisation:
Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from chainrule_bench.workload import (
    Arrays,
    Phase,
    adam,
    batches,
    normal,
    passes,
    product,
    workload,
    zeros,
)

BATCH, STEPS, WIDTH, HEADS, LAYERS, CHARACTERS = 16, 128, 128, 4, 4, 96
EACH, EPSILON = WIDTH // HEADS, 1e-5


def weights(rng: np.random.Generator) -> Arrays:
    """Normal numbers of deviation 0.02 for tables and kernels."""
    found: Arrays = {}

    def table(name: str, *shape: int) -> None:
        found[name] = normal(rng, *shape, scale=0.02)

    def norm(name: str) -> None:
        found.update({f"{name}/gamma": np.ones(WIDTH, np.float32), f"{name}/beta": zeros(WIDTH)})

    def dense(name: str, a: int, b: int) -> None:
        table(f"{name}/kernel", a, b)
        found[f"{name}/bias"] = zeros(b)

    table("characters/embeddings", CHARACTERS, WIDTH)
    table("places/embeddings", STEPS, WIDTH)
    for i in range(LAYERS):
        norm(f"before{i}")
        for part in ("query", "key", "value"):
            table(f"attention{i}/{part}_kernel", WIDTH, HEADS, EACH)
        table(f"attention{i}/output_kernel", HEADS, EACH, WIDTH)
        norm(f"after{i}")
        dense(f"wide{i}", WIDTH, 4 * WIDTH)
        dense(f"narrow{i}", 4 * WIDTH, WIDTH)
    norm("last")
    dense("out", WIDTH, CHARACTERS)
    return found


@cache
def data() -> tuple[np.ndarray, np.ndarray]:
    """Runs of 128 characters of movie-snippets, and for each character the next one.

    The 95 commonest have numbers, 0 is any other.
    """
    from chainrule.data import load  # the comparing process alone asks for data

    codes = np.array(["\n".join(load("movie-snippets").x_train)]).view(np.uint32)
    found, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    numbers = np.zeros(len(found), np.int32)
    numbers[np.argsort(-counts, kind="stable")[: CHARACTERS - 1]] = range(1, CHARACTERS)
    ids = numbers[places]
    whole = (len(ids) - 1) // STEPS * STEPS
    return batches(ids[:whole].reshape(-1, STEPS), ids[1 : whole + 1].reshape(-1, STEPS))


def phases() -> list[Phase]:
    """Products, the half of the scores that may be read, and passes over what they leave."""
    rows = BATCH * STEPS
    wide = rows * WIDTH
    seen = BATCH * HEADS * STEPS * (STEPS + 1) / 2  # scores
    layer = [
        passes("norms forward", 2 * wide, 2 * wide, roots=4 * rows),
        *product("query, key, value", rows, WIDTH, 3 * WIDTH),
        passes("attention forward", 3 * wide, wide, flops=4 * seen * EACH, roots=rows * HEADS),
        passes("attention back", 5 * wide, 3 * wide, flops=10 * seen * EACH),
        *product("output", rows, WIDTH, WIDTH),
        *product("wide", rows, WIDTH, 4 * WIDTH),
        passes("gelu back", 8 * wide, 4 * wide, flops=80 * wide, roots=4 * wide),
        *product("narrow", rows, 4 * WIDTH, WIDTH),
        passes("norms back", 4 * wide, 2 * wide),
    ]
    scores = rows * CHARACTERS
    return [
        passes("embedding", wide, wide),
        *layer * LAYERS,
        *product("out", rows, WIDTH, CHARACTERS),
        passes("loss", scores, scores, flops=30 * scores, roots=rows),
        passes("sums of rows", wide, CHARACTERS * WIDTH, flops=wide),
        adam(sum(array.size for array in weights(np.random.default_rng(0)).values())),
    ]


def network(x: Any, norm: Callable, attention: Callable, dense: Callable, gelu: Callable) -> Any:
    """The logits of a framework's pieces, from the sum of embeddings; all but `gelu` by name."""
    for i in range(LAYERS):
        x = x + attention(norm(x, f"before{i}"), f"attention{i}")
        x = x + dense(gelu(dense(norm(x, f"after{i}"), f"wide{i}")), f"narrow{i}")
    return dense(norm(x, "last"), "out")


def in_chainrule() -> Any:
    """The logits by hand."""
    import chainrule as cr
    from chainrule.nn import dot_product_attention

    def forward(p: Any, s: Any, x: Any) -> Any:
        def norm(x: Any, name: str) -> Any:
            center = cr.mean(x, axis=-1, keepdims=True)
            spread = cr.mean((x - center) * (x - center), axis=-1, keepdims=True)
            return (x - center) / cr.sqrt(spread + EPSILON) * p[f"{name}/gamma"] + p[f"{name}/beta"]

        def attention(x: Any, name: str) -> Any:
            query, key, value = (
                cr.einsum("btf,fhd->bthd", x, p[f"{name}/{part}_kernel"])
                for part in ("query", "key", "value")
            )
            y = dot_product_attention(query, key, value, causal=True)
            return cr.einsum("bthd,hdf->btf", y, p[f"{name}/output_kernel"])

        def dense(x: Any, name: str) -> Any:
            return x @ p[f"{name}/kernel"] + p[f"{name}/bias"]

        x = p["characters/embeddings"][x] + p["places/embeddings"]
        return network(x, norm, attention, dense, cr.gelu), s

    return forward


def in_layers() -> Any:
    """chainrule's model of layers."""
    import chainrule as cr
    from chainrule import nn

    class Places(nn.Module):
        def build(self, shape: Any) -> None:
            self.parameter("embeddings", shape[1:], "zeros")

        def call(self, x: Any) -> Any:
            return x + self.embeddings

    class Transformer(cr.Model):
        takes_integers = True

        def __init__(self) -> None:
            super().__init__()
            self.characters = nn.Embedding(CHARACTERS, WIDTH, name="characters")
            self.places = Places(name="places")
            names = [f"{when}{i}" for i in range(LAYERS) for when in ("before", "after")]
            self.norms = {
                name: nn.LayerNormalization(epsilon=EPSILON, name=name) for name in [*names, "last"]
            }
            self.attentions = {
                name: nn.MultiHeadAttention(HEADS, EACH, use_bias=False, causal=True, name=name)
                for name in (f"attention{i}" for i in range(LAYERS))
            }
            sizes = {"wide": 4 * WIDTH, "narrow": WIDTH}
            widths = {f"{kind}{i}": n for i in range(LAYERS) for kind, n in sizes.items()}
            self.denses = {
                name: nn.Dense(n, name=name) for name, n in {**widths, "out": CHARACTERS}.items()
            }

        def call(self, x: Any) -> Any:
            return network(
                self.places(self.characters(x)),
                lambda x, name: self.norms[name](x),
                lambda x, name: self.attentions[name](x),
                lambda x, name: self.denses[name](x),
                cr.gelu,
            )

    return Transformer()


def in_torch() -> Any:
    """The logits, from torch's layouts."""
    from torch.nn import functional

    def forward(p: Any, s: Any, x: Any) -> Any:
        def norm(x: Any, name: str) -> Any:
            affine = p[f"{name}/gamma"], p[f"{name}/beta"]
            return functional.layer_norm(x, (WIDTH,), *affine, EPSILON)

        def attention(x: Any, name: str) -> Any:
            parts = (
                (x @ p[f"{name}/{part}_kernel"].flatten(1)).unflatten(-1, (HEADS, EACH))
                for part in ("query", "key", "value")
            )
            heads = (part.transpose(1, 2) for part in parts)
            y = functional.scaled_dot_product_attention(*heads, is_causal=True)
            return y.transpose(1, 2).flatten(2) @ p[f"{name}/output_kernel"].flatten(0, 1)

        def dense(x: Any, name: str) -> Any:
            return functional.linear(x, p[f"{name}/kernel"], p[f"{name}/bias"])

        x = functional.embedding(x, p["characters/embeddings"]) + p["places/embeddings"]
        return network(x, norm, attention, dense, functional.gelu)

    return forward


def in_jax() -> Any:
    """The logits."""
    import jax
    from jax import lax, numpy as jnp

    def forward(p: Any, s: Any, x: Any) -> Any:
        def norm(x: Any, name: str) -> Any:
            scale = lax.rsqrt(x.var(-1, keepdims=True) + EPSILON) * p[f"{name}/gamma"]
            return (x - x.mean(-1, keepdims=True)) * scale + p[f"{name}/beta"]

        def attention(x: Any, name: str) -> Any:
            parts = (
                jnp.einsum("btf,fhd->bthd", x, p[f"{name}/{part}_kernel"])
                for part in ("query", "key", "value")
            )
            y = jax.nn.dot_product_attention(*parts, is_causal=True)
            return jnp.einsum("bthd,hdf->btf", y, p[f"{name}/output_kernel"])

        def dense(x: Any, name: str) -> Any:
            return x @ p[f"{name}/kernel"] + p[f"{name}/bias"]

        def gelu(x: Any) -> Any:
            return jax.nn.gelu(x, approximate=False)

        x = p["characters/embeddings"][x] + p["places/embeddings"]
        return network(x, norm, attention, dense, gelu), s

    return forward


def in_keras() -> Any:
    """Keras's model of layers."""
    from keras import Input, Model, layers

    class Places(layers.Layer):
        def build(self, shape: Any) -> None:
            self.embeddings = self.add_weight(name="embeddings", shape=shape[1:])

        def call(self, x: Any) -> Any:
            return x + self.embeddings

    def norm(x: Any, name: str) -> Any:
        return layers.LayerNormalization(epsilon=EPSILON, name=name)(x)

    def attention(x: Any, name: str) -> Any:
        made = layers.MultiHeadAttention(HEADS, EACH, use_bias=False, name=name)
        return made(x, x, use_causal_mask=True)

    def dense(x: Any, name: str) -> Any:
        return layers.Dense({"w": 4 * WIDTH, "n": WIDTH, "o": CHARACTERS}[name[0]], name=name)(x)

    x = Input((STEPS,), dtype="int32")
    embedded = layers.Embedding(CHARACTERS, WIDTH, name="characters")(x)
    y = Places(name="places")(embedded)
    return Model(x, network(y, norm, attention, dense, layers.Activation("gelu")))


workload(
    name="gpt",
    about="a transformer of 4 layers, 128 wide, 4 heads, context 128, batch 16, AdamW",
    batch=BATCH,
    weights=weights,
    data=data,
    models={
        "chainrule": in_chainrule,
        "layers": in_layers,
        "torch": in_torch,
        "jax": in_jax,
        "keras": in_keras,
    },
    phases=phases,
    optimizer="adamw",
    decay=0.01,
    check=10,
)
