"""The workloads in JAX, compiled with `jit`."""

from runner import indices, main, options

import os

os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if options.threads > 1 else 'false'} intra_op_parallelism_threads={options.threads}"
os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import numpy as np


def weight(numbers, shape):
    return jnp.asarray(numbers(shape, (3 / np.prod(shape[1:])) ** 0.5))


def adam(parameters, lr, decay):
    def zeros():
        return jax.tree.map(jnp.zeros_like, parameters)

    def update(parameters, moments, squares, gradients, t):
        moments = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments, gradients)
        squares = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, squares, gradients)
        parameters = jax.tree.map(
            lambda p, m, s: p * (1 - lr * decay) - lr * (m / (1 - 0.9**t)) / (jnp.sqrt(s / (1 - 0.999**t)) + 1e-8),
            parameters, moments, squares)
        return parameters, moments, squares

    return zeros, update


def cross_entropy(logits, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1))


def layer_norm(x, w, b):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) * w + b


def gpt_parameters(numbers):
    one, zero = jnp.ones, jnp.zeros
    p = {"tokens": jnp.asarray(numbers((65, 128), 0.1)), "places": jnp.asarray(numbers((128, 128), 0.1)), "blocks": []}
    for _ in range(4):
        shapes = [(384, 128), (128, 128), (512, 128), (128, 512)]
        p["blocks"].append([(weight(numbers, s), zero(s[0])) for s in shapes] + [(one(128), zero(128))] * 2)
    return p | {"norm": (one(128), zero(128)), "head": weight(numbers, (65, 128))}


def gpt(p, ids):
    x = p["tokens"][ids] + p["places"][: ids.shape[1]]
    n, length, width = x.shape
    mask = jnp.tril(jnp.ones((length, length), bool))
    for qkv, out, up, down, norm1, norm2 in p["blocks"]:
        h = layer_norm(x, *norm1) @ qkv[0].T + qkv[1]
        q, k, v = h.reshape(n, length, 3, 4, 32).transpose(2, 0, 3, 1, 4)
        scores = jnp.where(mask, q @ k.swapaxes(-1, -2) / 32**0.5, -jnp.inf)
        h = (jax.nn.softmax(scores) @ v).swapaxes(1, 2).reshape(n, length, width)
        x = x + h @ out[0].T + out[1]
        h = jax.nn.gelu(layer_norm(x, *norm2) @ up[0].T + up[1], approximate=True)
        x = x + h @ down[0].T + down[1]
    return layer_norm(x, *p["norm"]) @ p["head"].T


def build(w, numbers):
    kind, n = w["kind"], w.get("batch", 4)
    labels, decay = jnp.asarray(indices(n, 10)), 0.0
    if kind == "add" and w["family"] == "overhead":
        a, b = (jnp.asarray(numbers(s)) for s in w["shapes"])
        f = jax.jit(lambda a, b: a + b)
        return lambda: f(a, b).block_until_ready(), lambda: [f(a, b)]
    if kind == "mlp_step":
        sizes = w["sizes"]
        parameters = [(weight(numbers, (b, a)), jnp.zeros(b)) for a, b in zip(sizes, sizes[1:])]
        x = jnp.asarray(numbers((n, sizes[0])))

        def loss(p):
            h = jax.nn.relu(x @ p[0][0].T + p[0][1])
            return cross_entropy(jax.nn.relu(h @ p[1][0].T + p[1][1]) @ p[2][0].T + p[2][1], labels)
    elif kind == "lenet_step":
        shapes = [(16, 1, 5, 5), (32, 16, 5, 5), (128, 1568), (10, 128)]
        parameters = [(weight(numbers, s), jnp.zeros(s[0])) for s in shapes]
        x = jnp.asarray(numbers((n, 1, 28, 28)))

        def loss(p):
            h = x
            for kernel, bias in p[:2]:
                h = jax.nn.relu(jax.lax.conv(h, kernel, (1, 1), "SAME") + bias[:, None, None])
                h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
            h = jax.nn.relu(h.reshape(n, -1) @ p[2][0].T + p[2][1])
            return cross_entropy(h @ p[3][0].T + p[3][1], labels)
    elif kind in ("gpt_step", "gpt_forward"):
        parameters, decay = gpt_parameters(numbers), 0.01
        ids = jnp.asarray(indices(n * 129, 65)).reshape(n, 129)
        x, y = ids[:, :-1], ids[:, 1:]
        if kind == "gpt_forward":
            f = jax.jit(gpt)
            return lambda: f(parameters, x).block_until_ready(), lambda: [f(parameters, x)]

        def loss(p):
            return cross_entropy(gpt(p, x), y)
    else:
        return None
    zeros, update = adam(parameters, 1e-3, decay)

    @jax.jit
    def train(p, m, s, t):
        value, gradients = jax.value_and_grad(loss)(p)
        return value, *update(p, m, s, gradients, t)

    state = [parameters, zeros(), zeros(), 1.0]

    def step():
        value, *state[:3] = train(*state)
        state[3] += 1.0
        return float(value)

    return step, lambda: [[step() for _ in range(3)]]


main({"JAX": jax.__version__}, build)
