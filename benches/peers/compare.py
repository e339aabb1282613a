#!/usr/bin/env python3
"""Times the same workloads in Wengert and its peers: python3 benches/peers/compare.py [--help]

Every framework runs in a process of its own, one after the other, in rounds, with the same number of threads; before
anything is timed, the results of all are compared. It installs nothing: a peer that is not there is left out, and said
so, with how to get it. Writes a table as Markdown and as JSON.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

from workloads import WORKLOADS

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SLOWEST_TOLERATED = 1.05

# Name, kind of peer, and how to get it.
PYTHON = "install it into the Python that runs this: python3 -m pip install {}"
PEERS = {
    "Wengert": ("own", None),
    "PyTorch": ("eager", PYTHON.format("torch")),
    "TensorFlow": ("eager", PYTHON.format("tensorflow-cpu")),
    "Candle": ("eager", "needs cargo"),
    "Burn": ("eager", "needs cargo"),
    "Keras": ("compiled", PYTHON.format("tensorflow-cpu")),
    "JAX": ("compiled", PYTHON.format("jax")),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="threads of every framework (2)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all frameworks (5); the median counts")
    parser.add_argument("--seconds", type=float, default=0.3, help="how long a round times one workload (0.3)")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="workloads with this in their name")
    parser.add_argument("--peers", default=",".join(PEERS), help="frameworks, separated by commas (all)")
    parser.add_argument("--more", action="store_true", help="further shapes: odd sizes, strides, groups, small batches, F64")
    parser.add_argument("--memory", action="store_true", help="the growth of peak memory in training, too")
    parser.add_argument("--out", default=str(ROOT / "out"), help="the folder for peers.md and peers.json (out)")
    return parser.parse_args()


def command(peer):
    """How to run a peer, or None where it is not there."""
    if PEERS[peer][0] == "own" or peer in ("Candle", "Burn"):
        crate = HERE / peer.lower()
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target" / "peers"))
        build = ["cargo", "build", "--release", "--quiet", "--manifest-path", str(crate / "Cargo.toml"), "--target-dir", str(target)]
        if subprocess.run(build).returncode != 0:
            return None
        return [str(target / "release" / f"peers-{peer.lower()}")]
    module = {"PyTorch": "torch", "TensorFlow": "tensorflow", "Keras": "keras", "JAX": "jax"}[peer]
    found = subprocess.run([sys.executable, "-c", f"import importlib.util as u; exit(u.find_spec('{module}') is None)"])
    return [sys.executable, str(HERE / f"run_{module}.py")] if found.returncode == 0 else None


def run(args, peer_command, file, *extra):
    """Runs a peer over a file of workloads: its lines, by workload, and its versions."""
    call = [*peer_command, file, "--threads", str(args.threads), "--seconds", str(args.seconds), *extra]
    done = subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0:
        print(f"  {' '.join(peer_command)} ended with {done.returncode}:\n{done.stderr[-2000:]}", file=sys.stderr)
    versions = next((line["versions"] for line in lines if "versions" in line), {})
    return {line["name"]: line for line in lines if "name" in line}, versions


def agree(a, b):
    """Whether two results are the same but for rounding: sums and elements, measured by the mean magnitude."""
    if len(a) != len(b):
        return f"{len(a)} results against {len(b)}"
    for own, other in zip(a, b):
        if own[0] != other[0]:
            return f"{own[0]:.0f} elements against {other[0]:.0f}"
        if not all(map(math.isfinite, own + other)):
            return "not finite"
        magnitude = other[2] / max(other[0], 1)
        for i, (x, y) in enumerate(zip(own[1:], other[1:])):
            scale = other[2] if i < 2 else magnitude + abs(y)
            if abs(x - y) > 2e-3 * scale + 1e-6:
                return f"{x} against {y}"
    return None


def check(args, commands, file):
    """Compares all results with PyTorch's, or with the first peer's that has one. Returns what must not be timed."""
    digests = {peer: run(args, c, file, "--check")[0] for peer, c in commands.items()}
    order = ["PyTorch", *[p for p in commands if p != "PyTorch"]]
    wrong = set()
    for w in WORKLOADS:
        name = w["name"]
        having = [p for p in order if p in digests and name in digests[p]]
        for peer in having[1:]:
            reference = digests[having[0]][name]["digest"]
            own = digests[peer][name]["digest"]
            if peer == "Keras":  # Reports the first loss only.
                reference = [[1.0, v, abs(v), v] for v in [reference[0][3]]]
                own = [[1.0, v, abs(v), v] for v in [own[0][3]]]
            difference = agree(own, reference)
            if difference:
                wrong.add((peer, name))
                print(f"  DIFFERS: {name}: {peer} from {having[0]}: {difference}")
        if not having:
            continue
    return wrong


def peaks(args, peer_command):
    """What the machine can do, in GFLOP/s and GB/s, measured by Wengert's runner in this session."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([dict(name="peak_flops", kind="peak_flops"), dict(name="peak_bytes", kind="peak_bytes")], file)
        file.flush()
        lines, _ = run(args, peer_command, file.name)
    return {name: line["rate"] for name, line in lines.items()}


def figure(value):
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def row(w, times, peers, peak):
    """A line of the table, and the ratio to the best eager peer."""
    own = times.get("Wengert")
    eager = {p: times[p] for p in peers if PEERS[p][0] == "eager" and p in times}
    ratio = own / min(eager.values()) if own and eager else None
    use = ""
    if own and w.get("flops"):
        rate = w["flops"] / own / 1e3
        use = f"{rate:.0f} GFLOP/s" + (f" ({100 * rate / peak['peak_flops']:.0f} %)" if "peak_flops" in peak else "")
    elif own and w.get("bytes"):
        rate = w["bytes"] / own / 1e3
        use = f"{rate:.0f} GB/s" + (f" ({100 * rate / peak['peak_bytes']:.0f} %)" if "peak_bytes" in peak else "")
    cells = [figure(times[p]) if p in times else "" for p in peers]
    return [w["name"], *cells, f"{ratio:.2f}" if ratio else "", use], ratio


def report(args, peers, workloads, times, versions, peak, memory):
    names = ["workload", *peers, "ratio", "use of the machine"]
    rows, ratios = [], {}
    for w in workloads:
        cells, ratio = row(w, times[w["name"]], peers, peak)
        rows.append(cells)
        if ratio:
            ratios[w["name"]] = ratio
    lines = [f"Microseconds, medians of {args.rounds} alternating rounds, {args.threads} threads, "
             f"{processor()}. `ratio` is Wengert's time to that of the best eager peer.", ""]
    lines.append(", ".join(f"{k} {v}" for k, v in versions.items()))
    if peak:
        lines[-1] += f". Peaks measured in the same run: {peak['peak_flops']:.0f} GFLOP/s, {peak['peak_bytes']:.0f} GB/s."
    lines += ["", "| " + " | ".join(names) + " |", "|---|" + "---:|" * (len(names) - 1)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    if ratios:
        mean = math.exp(statistics.fmean(map(math.log, ratios.values())))
        slower = sorted((r, n) for n, r in ratios.items() if r > SLOWEST_TOLERATED)
        lines += ["", f"Geometric mean of the ratios: {mean:.2f}. Above {SLOWEST_TOLERATED}: {len(slower)} of {len(ratios)}"
                  + "".join(f"\n- {n}: {r:.2f}" for r, n in reversed(slower))]
    if memory:
        lines += ["", "| growth of peak memory in training, MB | " + " | ".join(memory) + " |", "|---|" + "---:|" * len(memory)]
        for name in next(iter(memory.values())):
            lines.append(f"| {name} | " + " | ".join(f"{m[name]['bytes'] / 1e6:.0f}" if name in m else "" for m in memory.values()) + " |")
    return "\n".join(lines) + "\n", ratios


def processor():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    args = arguments()
    wanted = args.peers.split(",")
    unknown = [p for p in wanted if p not in PEERS]
    if unknown:
        sys.exit(f"unknown peers {', '.join(unknown)}: known are {', '.join(PEERS)}")
    workloads = [w for w in WORKLOADS if (args.more or not w["more"])
                 and (not args.only or any(part.lower() in w["name"].lower() for part in args.only))]
    if not workloads:
        sys.exit("no workload has that in its name")
    commands = {}
    for peer in wanted:
        found = command(peer)
        if found:
            commands[peer] = found
        else:
            print(f"{peer} is left out. To have it, {PEERS[peer][1]}")
    if "Wengert" not in commands:
        sys.exit("Wengert itself could not be built")
    with tempfile.TemporaryDirectory() as folder:
        def write(name, list_):
            path = str(pathlib.Path(folder) / name)
            pathlib.Path(path).write_text(json.dumps(list_))
            return path

        file = write("all.json", workloads)
        print(f"comparing the results of {len(workloads)} workloads")
        wrong = check(args, commands, file)
        peak = peaks(args, commands["Wengert"])
        rounds = {w["name"]: {} for w in workloads}
        versions = {}
        files = {p: write(f"{p}.json", [w for w in workloads if (p, w["name"]) not in wrong]) for p in commands}
        for i in range(args.rounds):
            # Every round begins with another peer.
            order = list(commands)[i % len(commands):] + list(commands)[: i % len(commands)]
            print(f"round {i + 1} of {args.rounds}: {', '.join(order)}", flush=True)
            for peer in order:
                lines, version = run(args, commands[peer], files[peer])
                versions |= version
                for name, line in lines.items():
                    rounds[name].setdefault(peer, []).append(line["us"])
        memory = {}
        if args.memory:
            trained = write("memory.json", [w for w in workloads if w["kind"] in ("gpt_step", "resnet_step") and not w["more"]])
            for peer in ("Wengert", "PyTorch"):
                if peer in commands:
                    memory[peer] = {}
                    for w in json.loads(pathlib.Path(trained).read_text()):
                        # A process for each, so that none finds memory that another left.
                        memory[peer] |= run(args, commands[peer], write("one.json", [w]), "--memory")[0]
    times = {name: {p: statistics.median(t) for p, t in by.items()} for name, by in rounds.items()}
    text, ratios = report(args, list(commands), workloads, times, versions, peak, memory)
    print("\n" + text)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "peers.md").write_text(text)
    record = dict(versions=versions, threads=args.threads, rounds=rounds, peaks=peak, ratios=ratios, memory=memory,
                  wrong=sorted(map(list, wrong)), processor=processor())
    (out / "peers.json").write_text(json.dumps(record, indent=1))
    print(f"written to {out / 'peers.md'} and {out / 'peers.json'}")
    if wrong:
        sys.exit(f"{len(wrong)} results differ and were not timed")


if __name__ == "__main__":
    main()
