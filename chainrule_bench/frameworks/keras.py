"""Keras 3 on TensorFlow: `train_on_batch`; `fit` without and with XLA. Read next: `numpy.py`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from chainrule_bench.framework import Form, Job, framework


class Fit:
    """`compile` and `fit`."""

    def __init__(self, job: Job, *, xla: Any = False):
        import keras
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(job.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.job, work = job, job.workload
        self.model = work.models["keras"]()
        for variable in self.model.variables:
            value = job.value_of(variable.path)
            if value is not None:
                variable.assign(value)
        entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        decay = {"weight_decay": work.decay} if work.decay else {}
        optimizer = {
            "adagrad": keras.optimizers.Adagrad,
            "adam": keras.optimizers.Adam,
            "adamw": keras.optimizers.AdamW,
            "sgd": keras.optimizers.SGD,
        }[work.optimizer](work.rate, **decay)
        loss = "mse" if work.loss == "mse" else entropy
        self.model.compile(optimizer, loss, jit_compile=xla)
        self.batches: list = job.pairs()
        if work.tensors:
            self.batches = [tuple(map(tf.constant, pair)) for pair in self.batches]

    def steps(self, first: int, count: int) -> list:
        """One `fit`; its loss is the mean over the last epoch's batches."""
        place, epochs = self.job.span(first, count)
        x, y = self.job.x[place], self.job.y[place]
        size = self.job.workload.batch
        history = self.model.fit(x, y, batch_size=size, epochs=epochs, shuffle=False, verbose=0)
        return [np.float64(history.history["loss"][-1])]


class OnBatch(Fit):
    """`train_on_batch`."""

    def steps(self, first: int, count: int) -> list:
        """A call for each step."""
        batches, step = self.batches, self.model.train_on_batch
        return [step(*batches[at % len(batches)]) for at in range(first, first + count)]


framework(
    name="keras",
    packages=("keras", "tensorflow"),
    imports="import keras",
    forms={
        "call": Form("keras", "one", partial(OnBatch, xla="auto")),
        "fit": Form("keras", "many", Fit),
        "fit-xla": Form("keras", "many", partial(Fit, xla=True)),
    },
    settings={
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    },
)
