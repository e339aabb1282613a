"""The workloads, once for all frameworks: names, sizes, and the arithmetic each needs.

A workload is {name, family, kind, ..sizes}: `kind` says which code of a runner does it. `flops` counts additions and
multiplications, `bytes` what must move to and from memory if every operand is read once and every result written once;
one of the two says how much of the machine a time makes use of. `tolerance` is relative to the mean magnitude of what is compared.
"""


def elementwise(name, kind, shapes, more=False, reads=None, **sizes):
    n = max(product(s) for s in shapes)
    moved = 4 * (sum(product(s) for s in shapes) + n)
    return dict(name=name, family="elementwise", kind=kind, shapes=shapes, bytes=moved, more=more, **sizes)


def product(shape):
    n = 1
    for size in shape:
        n *= size
    return n


def matmul(a, b, name=None, more=False, dtype="f32"):
    batch = product(a[:-2])
    shape = "x".join(map(str, a)) + " by " + "x".join(map(str, b))
    return dict(name=name or f"matmul {shape}", family="matmul", kind="matmul", shapes=[a, b], dtype=dtype,
                flops=2 * batch * a[-2] * a[-1] * b[-1], more=more)


def conv(n, c, h, w, out, k, stride=1, padding=0, groups=1, more=False):
    x, weight = [n, c, h, w], [out, c // groups, k, k]
    oh, ow = (h + 2 * padding - k) // stride + 1, (w + 2 * padding - k) // stride + 1
    flops = 2 * n * out * oh * ow * (c // groups) * k * k
    extra = "".join(f", {t} {v}" for t, v, usual in (("stride", stride, 1), ("groups", groups, 1)) if v != usual)
    name = f"conv {n}x{c}x{h}x{w} to {out}, {k}x{k}{extra}"
    sizes = dict(family="conv", x=x, w=weight, stride=stride, padding=padding, groups=groups, more=more)
    return [dict(name=f"{name}: forward", kind="conv", flops=flops, **sizes),
            dict(name=f"{name}: forward and backward", kind="conv_backward", flops=3 * flops, **sizes)]


def step(name, kind, flops=None, **sizes):
    return dict(name=name, family="step", kind=kind, flops=flops, **sizes)


M = 1 << 20
SQUARE = [2048, 2048]

WORKLOADS = [
    dict(name="add of 8 elements", family="overhead", kind="add", shapes=[[8], [8]]),
    dict(name="add of 8 elements, recorded", family="overhead", kind="add_recorded", shapes=[[8], [8]]),
    dict(name="200-op scalar chain, forward and backward", family="overhead", kind="chain", length=100),
    dict(name="step of a 2-16-1 MLP, batch 4, SGD", family="overhead", kind="tiny_step"),
    elementwise("add 1M", "add", [[M], [M]]),
    elementwise("add 16M", "add", [[16 * M], [16 * M]]),
    elementwise("exp 1M", "exp", [[M]]),
    elementwise("tanh 1M", "tanh", [[M]]),
    elementwise("sigmoid 1M", "sigmoid", [[M]]),
    elementwise("gelu (tanh form) 1M", "gelu_tanh", [[M]]),
    dict(name="sum 1M", family="reduce", kind="sum", shapes=[[M]], bytes=4 * M),
    dict(name="sum 16M", family="reduce", kind="sum", shapes=[[16 * M]], bytes=64 * M),
    elementwise("add a row to 2048x2048", "add", [SQUARE, [2048]]),
    elementwise("add a column to 2048x2048", "add", [SQUARE, [2048, 1]]),
    dict(name="sum axis 0, 2048x2048", family="reduce", kind="sum_axis", axis=0, shapes=[SQUARE], bytes=16 * M),
    dict(name="sum axis 1, 2048x2048", family="reduce", kind="sum_axis", axis=1, shapes=[SQUARE], bytes=16 * M),
    dict(name="max axis 1, 2048x2048", family="reduce", kind="max_axis", axis=1, shapes=[SQUARE], bytes=16 * M),
    dict(name="transpose copy 2048x2048", family="copy", kind="transpose_copy", shapes=[SQUARE], bytes=32 * M),
    dict(name="softmax 2048x2048", family="softmax", kind="softmax", shapes=[SQUARE], bytes=32 * M),
    dict(name="layer norm 2048x2048", family="norm", kind="layer_norm", shapes=[SQUARE], bytes=32 * M),
    dict(name="gather 8192 rows of 2048", family="index", kind="gather", shapes=[[16384, 2048]], rows=8192, bytes=2 * 64 * M),
    dict(name="sort 1M", family="sort", kind="sort", shapes=[[M]]),
    matmul([64, 64], [64, 64], "matmul 64"),
    matmul([256, 256], [256, 256], "matmul 256"),
    matmul([1024, 1024], [1024, 1024], "matmul 1024"),
    matmul([2048, 2048], [2048, 2048], "matmul 2048"),
    matmul([1, 1024], [1024, 1024], "matmul 1x1024 by 1024x1024"),
    matmul([64, 128, 64], [64, 64, 128], "matmul batch of 64, 128x64x128"),
    *conv(32, 3, 32, 32, 64, 3, padding=1),
    *conv(8, 64, 56, 56, 64, 3, padding=1),
    *conv(32, 16, 28, 28, 32, 5),
    dict(name="max pool 2x2 of 32x32x28x28", family="pool", kind="max_pool", shapes=[[32, 32, 28, 28]], kernel=2, stride=2,
         padding=0, bytes=5 * 32 * 32 * 28 * 28),
    step("MLP 784-512-256-10, batch 128, Adam", "mlp_step", batch=128, sizes=[784, 512, 256, 10],
         flops=3 * 2 * 128 * (784 * 512 + 512 * 256 + 256 * 10)),
    step("LeNet 28x28, batch 64, Adam", "lenet_step", batch=64,
         flops=3 * 2 * 64 * (784 * 16 * 25 + 196 * 32 * 16 * 25 + 1568 * 128 + 1280)),
    step("small ResNet 32x32, batch 32, Adam", "resnet_step", batch=32,
         flops=3 * 2 * 32 * (1024 * 9 * (3 * 32 + 2 * 32 * 32) + 256 * (9 * (32 * 64 + 3 * 64 * 64) + 32 * 64))),
    step("GPT 4 layers, width 128, 4 heads, 128 tokens, batch 8, AdamW", "gpt_step", batch=8,
         flops=3 * 2 * 8 * 128 * (4 * (12 * 128 * 128 + 2 * 128 * 128) + 128 * 65)),
    step("LSTM 32-128, 64 steps, batch 32, Adam", "lstm_step", batch=32, flops=3 * 2 * 32 * 64 * 4 * 128 * (32 + 128)),
    step("GPT forward pass, batch 1", "gpt_forward", batch=1,
         flops=2 * 128 * (4 * (12 * 128 * 128 + 2 * 128 * 128) + 128 * 65)),
    dict(name="AdamW over 8 x 1M parameters", family="optimizer", kind="adamw", tensors=8, elements=M, bytes=7 * 4 * 8 * M),
    # Further shapes, with --more.
    elementwise("add 1000003", "add", [[1000003], [1000003]], more=True),
    elementwise("add 37x1x501 and 1x77x1", "add", [[37, 1, 501], [1, 77, 1]], more=True, ),
    elementwise("add 128x512, transposed", "add_transposed", [[512, 128], [128, 512]], more=True),
    elementwise("exp 1000", "exp", [[1000]], more=True),
    elementwise("gelu (tanh form) 77x3333", "gelu_tanh", [[77, 3333]], more=True),
    elementwise("exp 1M, F64", "exp", [[M]], more=True, dtype="f64"),
    dict(name="sum 999", family="reduce", kind="sum", shapes=[[999]], bytes=4 * 999, more=True),
    dict(name="sum axis 1, 64x33x127", family="reduce", kind="sum_axis", axis=1, shapes=[[64, 33, 127]], bytes=4 * 64 * 33 * 127, more=True),
    dict(name="max axis 0, 1000x777", family="reduce", kind="max_axis", axis=0, shapes=[[1000, 777]], bytes=4 * 777000, more=True),
    dict(name="transpose copy 1025x333", family="copy", kind="transpose_copy", shapes=[[1025, 333]], bytes=8 * 1025 * 333, more=True),
    dict(name="transpose copy 64x64", family="copy", kind="transpose_copy", shapes=[[64, 64]], bytes=8 * 4096, more=True),
    dict(name="transpose copy 2048x2048, F64", family="copy", kind="transpose_copy", shapes=[SQUARE], bytes=64 * M, dtype="f64", more=True),
    dict(name="softmax 333x65", family="softmax", kind="softmax", shapes=[[333, 65]], bytes=8 * 333 * 65, more=True),
    dict(name="softmax 4096x10", family="softmax", kind="softmax", shapes=[[4096, 10]], bytes=8 * 40960, more=True),
    dict(name="softmax 16x50257", family="softmax", kind="softmax", shapes=[[16, 50257]], bytes=8 * 16 * 50257, more=True),
    dict(name="layer norm 1024x128", family="norm", kind="layer_norm", shapes=[[1024, 128]], bytes=8 * 1024 * 128, more=True),
    dict(name="layer norm 77x1001", family="norm", kind="layer_norm", shapes=[[77, 1001]], bytes=8 * 77 * 1001, more=True),
    dict(name="layer norm 8192x32", family="norm", kind="layer_norm", shapes=[[8192, 32]], bytes=8 * 8192 * 32, more=True),
    dict(name="gather 1024 rows of 65", family="index", kind="gather", shapes=[[128, 65]], rows=1024, bytes=8 * 1024 * 65, more=True),
    dict(name="gather 100000 rows of 8", family="index", kind="gather", shapes=[[50000, 8]], rows=100000, bytes=8 * 800000, more=True),
    dict(name="gather 512 rows of 1001", family="index", kind="gather", shapes=[[4096, 1001]], rows=512, bytes=8 * 512 * 1001, more=True),
    dict(name="sort 1000", family="sort", kind="sort", shapes=[[1000]], more=True),
    dict(name="sort 1000x777", family="sort", kind="sort", shapes=[[1000, 777]], more=True),
    dict(name="sort 1M, F64", family="sort", kind="sort", shapes=[[M]], dtype="f64", more=True),
    matmul([333, 777], [777, 129], more=True),
    matmul([32, 1000, 17], [32, 17, 33], more=True),
    matmul([512, 512], [512, 512], "matmul 512, F64", more=True, dtype="f64"),
    *conv(4, 24, 33, 47, 40, 3, stride=2, padding=1, more=True),
    *conv(8, 64, 28, 28, 64, 3, padding=1, groups=64, more=True),
    *conv(1, 128, 14, 14, 256, 1, more=True),
    dict(name="max pool 3x3, stride 2, of 8x64x55x55", family="pool", kind="max_pool", shapes=[[8, 64, 55, 55]], kernel=3,
         stride=2, padding=1, bytes=5 * 8 * 64 * 55 * 55, more=True),
    dict(name="max pool 2x2 of 3x7x31x29", family="pool", kind="max_pool", shapes=[[3, 7, 31, 29]], kernel=2, stride=2,
         padding=0, bytes=5 * 3 * 7 * 31 * 29, more=True),
    dict(name="max pool 2x2 of 1x64x112x112", family="pool", kind="max_pool", shapes=[[1, 64, 112, 112]], kernel=2, stride=2,
         padding=0, bytes=5 * 64 * 112 * 112, more=True),
    step("MLP 784-512-256-10, batch 7, Adam", "mlp_step", batch=7, sizes=[784, 512, 256, 10], more=True),
    step("MLP 100-333-77-10, batch 50, Adam", "mlp_step", batch=50, sizes=[100, 333, 77, 10], more=True),
    step("LeNet 28x28, batch 5, Adam", "lenet_step", batch=5, more=True),
    step("small ResNet 32x32, batch 3, Adam", "resnet_step", batch=3, more=True),
    step("GPT 4 layers, width 128, 4 heads, 128 tokens, batch 1, AdamW", "gpt_step", batch=1, more=True),
    step("LSTM 32-128, 64 steps, batch 3, Adam", "lstm_step", batch=3, more=True),
]
for w in WORKLOADS:
    w.setdefault("dtype", "f32")
    w.setdefault("more", False)
    if w["dtype"] == "f64" and "bytes" in w and w["family"] == "elementwise":
        w["bytes"] *= 2

if __name__ == "__main__":
    import json
    print(json.dumps(WORKLOADS, indent=1))
