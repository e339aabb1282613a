"""What the Python runners share: the same numbers in every framework, the clock, and the lines they print.

A runner is called with a file of workloads and prints a line of JSON for each that it knows: its median time in
microseconds, or with `--check` a digest of its result, or with `--memory` by how many bytes training raised the peak.
"""

import argparse
import json
import os
import time

parser = argparse.ArgumentParser()
parser.add_argument("workloads", help="a file of JSON")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seconds", type=float, default=0.3, help="how long to time each workload")
parser.add_argument("--check", action="store_true", help="print digests of the results instead of times")
parser.add_argument("--memory", action="store_true", help="print the growth of peak memory instead of times")
options = parser.parse_args()
# Before any framework is imported: some read these only then.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
    os.environ[variable] = str(options.threads)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np


class Numbers:
    """Numbers in [-1, 1), the same in every runner: a hash of the element's place and of the tensor's number."""

    def __init__(self, dtype=np.float32):
        self.drawn = 0
        self.dtype = dtype

    def __call__(self, shape, scale=1.0):
        self.drawn += 1
        n = int(np.prod(shape, dtype=np.int64))
        x = np.arange(n, dtype=np.uint64) + self.drawn * 0x9E3779B9
        x = (x & 0xFFFFFFFF).astype(np.uint32)
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x7FEB352D)
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x846CA68B)
        x ^= x >> np.uint32(16)
        values = (x >> np.uint32(8)).astype(np.float64) / (1 << 23) - 1.0
        return (values * scale).astype(self.dtype).reshape(shape)


def indices(n, below):
    """Indices that jump about: multiples of a large odd number."""
    return (np.arange(n, dtype=np.int64) * 7919 + 13) % below


def digest(values):
    """What is compared of a result: its number of elements, sum, sum of magnitudes, and some elements."""
    values = np.asarray(values, dtype=np.float64).reshape(-1)
    places = np.linspace(0, len(values) - 1, min(len(values), 7)).astype(int)
    return [float(len(values)), float(values.sum()), float(np.abs(values).sum()), *map(float, values[places])]


def median(f, seconds):
    """The median time of a call, in microseconds: of samples of about 2 ms each."""
    f()
    start = time.perf_counter()
    f()
    once = max(time.perf_counter() - start, 2e-8)
    calls = min(max(int(2e-3 / once), 1), 20_000)
    samples = []
    begin = time.perf_counter()
    while len(samples) < 5 or (time.perf_counter() - begin < seconds and len(samples) < 300):
        t = time.perf_counter()
        for _ in range(calls):
            f()
        samples.append((time.perf_counter() - t) / calls * 1e6)
        if time.perf_counter() - begin > 10 * seconds + 2:
            break
    return sorted(samples)[len(samples) // 2]


def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def growth(f):
    """By how many bytes calls of `f` raise the peak of resident memory over the level before."""
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    before = status("VmRSS")
    for _ in range(5):
        f()
    return status("VmHWM") - before


def main(versions, build):
    """Runs all workloads for which `build(workload, numbers)` gives (function to time, function that gives results)."""
    print(json.dumps({"versions": versions}), flush=True)
    with open(options.workloads) as file:
        workloads = json.load(file)
    for w in workloads:
        built = build(w, Numbers(np.float64 if w["dtype"] == "f64" else np.float32))
        if built is None:
            continue
        timed, result = built
        if options.check:
            print(json.dumps({"name": w["name"], "digest": [digest(r) for r in result()]}), flush=True)
        elif options.memory:
            print(json.dumps({"name": w["name"], "bytes": growth(timed)}), flush=True)
        else:
            print(json.dumps({"name": w["name"], "us": median(timed, options.seconds)}), flush=True)
        del built, timed, result
