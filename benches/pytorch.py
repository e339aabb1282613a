"""The workloads of ops.rs in PyTorch: python benches/pytorch.py [PART-OF-A-NAME ..]   (needs: pip install torch)"""

import os
import sys
import time

import torch

threads = int(os.environ.get("WENGERT_NUM_THREADS", os.cpu_count()))
torch.set_num_threads(threads)


def median(f):
    f()
    start = time.perf_counter()
    f()
    once = max(time.perf_counter() - start, 20e-9)
    calls = min(max(int(2e-3 / once), 1), 20_000)
    samples = []
    begin = time.perf_counter()
    while len(samples) < 15 or (time.perf_counter() - begin < 0.5 and len(samples) < 300):
        t = time.perf_counter()
        for _ in range(calls):
            f()
        samples.append((time.perf_counter() - t) / calls * 1e6)
    return sorted(samples)[len(samples) // 2]


wanted = sys.argv[1:]


def bench(name, f):
    if not wanted or any(w in name for w in wanted):
        print(f"{name:<28} {median(f):>12.3f} us", flush=True)


print(f"PyTorch {torch.__version__}, {threads} threads")
torch.manual_seed(0)
a, b = torch.ones(8), torch.ones(8)
with torch.no_grad():
    bench("add 8", lambda: a + b)
w = torch.ones(8, requires_grad=True)
bench("add 8, recorded", lambda: w + b)
x = torch.tensor(0.5, requires_grad=True)


def chain():
    y = x
    for _ in range(100):
        y = y.sin() * 0.9
    torch.autograd.grad(y, x)


bench("chain of 200, with backward", chain)
with torch.no_grad():
    a, b = torch.rand(1 << 20), torch.rand(1 << 20)
    bench("add 1M", lambda: a + b)
    bench("exp 1M", lambda: a.exp())
    bench("sum 1M", lambda: a.sum())
    m = torch.rand(2048, 2048)
    bench("sum axis 0, 2048x2048", lambda: m.sum(0))
    bench("sum axis 1, 2048x2048", lambda: m.sum(1))
    bench("softmax 2048x2048", lambda: m.softmax(-1))
    bench("transpose copy 2048x2048", lambda: m.t().contiguous())
    for n in [64, 256, 1024]:
        p, q = torch.rand(n, n), torch.rand(n, n)
        bench(f"matmul {n}", lambda: p @ q)
x = torch.randn(32, 16, 28, 28)
w = torch.randn(32, 16, 5, 5, requires_grad=True)
with torch.no_grad():
    bench("conv 32x16x28x28 to 32, 5x5", lambda: torch.conv2d(x, w))
bench("conv with backward", lambda: torch.autograd.grad(torch.conv2d(x, w).sum(), w))
net = torch.nn.Sequential(
    torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)
)
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
x, y = torch.randn(128, 784), torch.arange(128) % 10


def step():
    opt.zero_grad()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    opt.step()


bench("MLP 784-512-256-10 step, 128", step)
