#!/usr/bin/env python3
"""Pack a CSV of MNIST digits into the file the mnist example embeds.

    python3 scripts/pack_mnist.py mnist_5k.csv.gz [OUTPUT]

The input has one digit a line: 784 pixels from 0 to 255, row by row, then the
label. The output is one gzip stream: the pixels of every digit in the order of
the input, one byte each, then one byte of label per digit. The same input
always gives the same uncompressed bytes; no time or file name is stored.
"""

import gzip
import sys
from pathlib import Path

PIXELS = 28 * 28
PER_CLASS = 500
CLASSES = 10
LIMIT = 1_000_000  # bytes: what may be checked in
DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "data" / "mnist" / "mnist_5k.bin.gz"


def read(path):
    """Return (pixels, labels) of the CSV at `path`, or stop with a message."""
    pixels, labels = bytearray(), bytearray()
    with gzip.open(path, "rt", encoding="ascii") as lines:
        for number, line in enumerate(lines, 1):
            try:
                values = [int(field) for field in line.split(",")]
            except ValueError as error:
                sys.exit(f"{path}, line {number}: {error}")
            if len(values) != PIXELS + 1:
                sys.exit(f"{path}, line {number}: {len(values)} values, expected {PIXELS + 1}")
            *row, label = values
            if not 0 <= label < CLASSES:
                sys.exit(f"{path}, line {number}: label {label}, expected 0 to {CLASSES - 1}")
            if not (0 <= min(row) and max(row) <= 255):
                sys.exit(f"{path}, line {number}: a pixel is outside 0 to 255")
            pixels += bytes(row)
            labels.append(label)
    return pixels, labels


def main():
    """Read the CSV named on the command line and write the packed file."""
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: {sys.argv[0]} CSV_GZ [OUTPUT]")
    output = Path(sys.argv[2]) if len(sys.argv) == 3 else DEFAULT_OUTPUT
    pixels, labels = read(sys.argv[1])
    for label in range(CLASSES):
        if labels.count(label) != PER_CLASS:
            sys.exit(f"{labels.count(label)} digits of class {label}, expected {PER_CLASS}")
    packed = gzip.compress(bytes(pixels + labels), compresslevel=9, mtime=0)
    if len(packed) > LIMIT:
        sys.exit(f"{len(packed)} bytes packed, more than the {LIMIT} allowed")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(packed)
    print(f"{output}: {len(labels)} digits, {len(packed)} bytes")


if __name__ == "__main__":
    main()
