"""The workloads in TensorFlow, eager: no `tf.function` anywhere."""

from runner import indices, main, options

import numpy as np
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(options.threads)
tf.config.threading.set_inter_op_parallelism_threads(1)


def result(f):
    return lambda: [f().numpy()]


OPS = {
    "add": lambda w, a, b: lambda: a + b,
    "add_transposed": lambda w, a, b: lambda: tf.transpose(a) + b,
    "exp": lambda w, a: lambda: tf.exp(a),
    "tanh": lambda w, a: lambda: tf.tanh(a),
    "sigmoid": lambda w, a: lambda: tf.sigmoid(a),
    "gelu_tanh": lambda w, a: lambda: tf.nn.gelu(a, approximate=True),
    "sum": lambda w, a: lambda: tf.reduce_sum(a),
    "sum_axis": lambda w, a: lambda: tf.reduce_sum(a, w["axis"]),
    "max_axis": lambda w, a: lambda: tf.reduce_max(a, w["axis"]),
    "transpose_copy": lambda w, a: lambda: tf.transpose(a),
    "softmax": lambda w, a: lambda: tf.nn.softmax(a),
    "sort": lambda w, a: lambda: tf.sort(a),
    "matmul": lambda w, a, b: lambda: tf.matmul(a, b),
}


def weight(numbers, shape):
    """A matrix or kernel `[out, in, ..]` as PyTorch lays it out; TensorFlow's has the outputs last."""
    values = numbers(shape, (3 / np.prod(shape[1:])) ** 0.5)
    return tf.Variable(np.ascontiguousarray(np.moveaxis(np.moveaxis(values, 0, -1), 0, -2)))


def zeros(n):
    return tf.Variable(tf.zeros([n]))


class Adam:
    """Adam over all variables, with TensorFlow's own fused kernel for each."""

    def __init__(self, variables, lr=1e-3):
        self.variables, self.lr, self.steps = variables, lr, 0
        self.moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in variables]

    def step(self, gradients):
        self.steps += 1
        for v, (m, s), g in zip(self.variables, self.moments, gradients):
            tf.raw_ops.ResourceApplyAdam(var=v.handle, m=m.handle, v=s.handle, beta1_power=0.9**self.steps,
                                         beta2_power=0.999**self.steps, lr=self.lr, beta1=0.9, beta2=0.999,
                                         epsilon=1e-8, grad=g)


def training(w, numbers):
    n, kind = w.get("batch", 4), w["kind"]
    labels = tf.constant(indices(n, 10))

    def cross_entropy(logits):
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))

    if kind == "tiny_step":
        v = [weight(numbers, (16, 2)), zeros(16), weight(numbers, (1, 16)), zeros(1)]
        x, y = tf.constant(numbers((4, 2))), tf.constant(numbers((4, 1)))
        loss = lambda: tf.reduce_mean(tf.square(tf.tanh(x @ v[0] + v[1]) @ v[2] + v[3] - y))

        def sgd(gradients):
            for p, g in zip(v, gradients):
                p.assign_sub(0.1 * g)

        return v, loss, sgd
    if kind == "mlp_step":
        sizes = w["sizes"]
        v = [t for a, b in zip(sizes, sizes[1:]) for t in (weight(numbers, (b, a)), zeros(b))]
        x = tf.constant(numbers((n, sizes[0])))
        loss = lambda: cross_entropy(tf.nn.relu(tf.nn.relu(x @ v[0] + v[1]) @ v[2] + v[3]) @ v[4] + v[5])
    elif kind == "lenet_step":
        v = []
        for shape in ((16, 1, 5, 5), (32, 16, 5, 5)):
            v += [weight(numbers, shape), zeros(shape[0])]
        # Channels are last here: the rows of the first matrix are in another order.
        first = numbers((128, 1568), (3 / 1568) ** 0.5).reshape(128, 32, 7, 7).transpose(2, 3, 1, 0).reshape(1568, 128)
        v += [tf.Variable(np.ascontiguousarray(first)), zeros(128), weight(numbers, (10, 128)), zeros(10)]
        x = tf.constant(numbers((n, 1, 28, 28)).transpose(0, 2, 3, 1).copy())

        def loss():
            h = x
            for i in (0, 2):
                h = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(h, v[i], 1, "SAME") + v[i + 1]), 2, 2, "VALID")
            h = tf.nn.relu(tf.reshape(h, [n, -1]) @ v[4] + v[5])
            return cross_entropy(h @ v[6] + v[7])
    elif kind == "lstm_step":
        v = [weight(numbers, (512, 32)), weight(numbers, (512, 128)), zeros(512), weight(numbers, (10, 128)), zeros(10)]
        x = tf.constant(numbers((n, 64, 32)))

        def loss():
            h, c = tf.zeros([n, 128]), tf.zeros([n, 128])
            inputs = tf.unstack(tf.reshape(tf.reshape(x, [-1, 32]) @ v[0] + v[2], [n, 64, 512]), axis=1)
            for z in inputs:
                i, f, g, o = tf.split(z + h @ v[1], 4, axis=1)
                c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
                h = tf.sigmoid(o) * tf.tanh(c)
            return cross_entropy(h @ v[3] + v[4])
    else:
        return None
    return v, loss, Adam(v).step


def build(w, numbers):
    kind = w["kind"]
    if kind in OPS:
        f = OPS[kind](w, *[tf.constant(numbers(s)) for s in w["shapes"]])
        return f, result(f)
    if kind == "gather":
        a, i = tf.constant(numbers(w["shapes"][0])), tf.constant(indices(w["rows"], w["shapes"][0][0]))
        return lambda: tf.gather(a, i), result(lambda: tf.gather(a, i))
    if kind == "max_pool" and w["padding"] == 0:
        a = tf.constant(numbers(w["shapes"][0]).transpose(0, 2, 3, 1).copy())
        f = lambda: tf.nn.max_pool2d(a, w["kernel"], w["stride"], "VALID")
        return f, lambda: [f().numpy().transpose(0, 3, 1, 2)]
    if kind == "chain":
        x = tf.constant(0.5)

        def chain():
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = x
                for _ in range(w["length"]):
                    y = tf.sin(y) * 0.9
            return tape.gradient(y, x)

        return chain, result(chain)
    if kind in ("conv", "conv_backward") and w["groups"] == 1:
        # Channels last: TensorFlow has no other convolution on the CPU.
        x = tf.constant(numbers(w["x"]).transpose(0, 2, 3, 1).copy())
        kernel = tf.constant(numbers(w["w"], 0.1).transpose(2, 3, 1, 0).copy())
        p = w["padding"]
        padding = [[0, 0], [p, p], [p, p], [0, 0]]
        run = lambda: tf.nn.conv2d(x, kernel, w["stride"], padding)
        if kind == "conv":
            return run, lambda: [run().numpy().transpose(0, 3, 1, 2)]
        n, h, width, c = run().shape
        g = tf.constant(numbers((n, c, h, width)).transpose(0, 2, 3, 1).copy())

        def both():
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = run()
            return tape.gradient(y, [x, kernel], g)

        def back():
            dx, dw = both()
            return [dx.numpy().transpose(0, 3, 1, 2), dw.numpy().transpose(3, 2, 0, 1)]

        return both, back
    trained = training(w, numbers)
    if trained is None:
        return None
    variables, loss, update = trained

    def step():
        with tf.GradientTape() as tape:
            value = loss()
        update(tape.gradient(value, variables))
        return value

    return step, lambda: [[float(step()) for _ in range(3)]]


main({"TensorFlow": tf.__version__}, build)
