"""The training steps in Keras on TensorFlow: compiled, through `train_on_batch`."""

from runner import indices, main, options

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
import tensorflow as tf
from keras import layers

tf.config.threading.set_intra_op_parallelism_threads(options.threads)
tf.config.threading.set_inter_op_parallelism_threads(1)


def weight(numbers, shape):
    values = numbers(shape, (3 / np.prod(shape[1:])) ** 0.5)
    return np.ascontiguousarray(np.moveaxis(np.moveaxis(values, 0, -1), 0, -2))


def build(w, numbers):
    kind, n = w["kind"], w.get("batch", 4)
    labels = indices(n, 10)
    if kind == "tiny_step":
        net = keras.Sequential([layers.Input((2,)), layers.Dense(16, "tanh"), layers.Dense(1)])
        net.set_weights([weight(numbers, (16, 2)), np.zeros(16), weight(numbers, (1, 16)), np.zeros(1)])
        x, labels = numbers((4, 2)), numbers((4, 1))
        net.compile(keras.optimizers.SGD(0.1), "mse")
    elif kind == "mlp_step":
        sizes = w["sizes"]
        net = keras.Sequential([layers.Input((sizes[0],)), layers.Dense(sizes[1], "relu"), layers.Dense(sizes[2], "relu"),
                                layers.Dense(sizes[3])])
        net.set_weights([t for a, b in zip(sizes, sizes[1:]) for t in (weight(numbers, (b, a)), np.zeros(b))])
        x = numbers((n, sizes[0]))
    elif kind == "lenet_step":
        net = keras.Sequential([layers.Input((28, 28, 1)), layers.Conv2D(16, 5, padding="same", activation="relu"),
                                layers.MaxPool2D(), layers.Conv2D(32, 5, padding="same", activation="relu"),
                                layers.MaxPool2D(), layers.Flatten(), layers.Dense(128, "relu"), layers.Dense(10)])
        values = []
        for shape in ((16, 1, 5, 5), (32, 16, 5, 5)):
            values += [weight(numbers, shape), np.zeros(shape[0])]
        first = numbers((128, 1568), (3 / 1568) ** 0.5).reshape(128, 32, 7, 7).transpose(2, 3, 1, 0).reshape(1568, 128)
        net.set_weights([*values, first, np.zeros(128), weight(numbers, (10, 128)), np.zeros(10)])
        x = numbers((n, 1, 28, 28)).transpose(0, 2, 3, 1).copy()
    elif kind == "lstm_step":
        net = keras.Sequential([layers.Input((64, 32)), layers.LSTM(128, unit_forget_bias=False), layers.Dense(10)])
        net.set_weights([weight(numbers, (512, 32)), weight(numbers, (512, 128)), np.zeros(512), weight(numbers, (10, 128)),
                         np.zeros(10)])
        x = numbers((n, 64, 32))
    else:
        return None
    if kind != "tiny_step":
        net.compile(keras.optimizers.Adam(1e-3, epsilon=1e-8), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    step = lambda: net.train_on_batch(x, labels)
    # Keras reports a running mean of the losses: only the first is the loss itself.
    return step, lambda: [[float(step())]]


main({"Keras": keras.__version__, "TensorFlow": tf.__version__}, build)
