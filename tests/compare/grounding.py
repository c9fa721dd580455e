#!/usr/bin/env python3
"""Sets the head selection of gazelab-grounding beside numpy and scipy: same maps, one thread, same run.

    python tests/compare/grounding.py [--samples 4] [--repetitions 7] [--seed 7]

Needs numpy, scipy and cargo. Builds the example `time_grounding`, makes attention rows of a model of 24 x 14 heads on
27 x 27 patches, asserts that both sides find the same entropies, components, heads and masks, and prints one line
`ratio NAME VALUE` per figure: above 1 where ours is faster. Contenders take turns, and the best repetition of each
counts. Ours is timed by the clock and the others by the processor time they use, so a busy machine does not flatter
ours.

* entropy_tight: spatial entropy with as few calls into numpy and scipy as its author knows (label, bincount).
* entropy_published: the same with one boolean mask per component, the shape of the published computation.
* select_mask: one sample from attention rows to a mask (checks, elbow, entropies, order, Gaussian, component).
* *_reference: the reference of the fixtures, where `../shared/fixtures/grounding` or $GAZELAB_FIXTURES has one.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import numpy as np
    from scipy import ndimage
except ImportError as error:
    sys.exit(
        f"{error}. This comparison needs numpy and scipy:\n"
        "    python3 -m venv .venv && .venv/bin/pip install numpy scipy\n"
        "    .venv/bin/python tests/compare/grounding.py"
    )

ROOT = Path(__file__).resolve().parents[2]
LAYERS, HEADS, ROWS, COLS = 24, 14, 27, 27
PATCHES = ROWS * COLS
EIGHT = np.ones((3, 3), int)
FLOOR = 0.576 / PATCHES
BOTTOM = 28.8 / PATCHES
QUANTUM = float(2**30)
EXCLUDED_LAYERS, CANDIDATES, SELECTED = 2, 10, 3


# ---------------------------------------------------------------------------------------------------------- the maps


def make_samples(seed, count):
    """Rows of a softmax over patches and one text logit, `[count, layers, heads, patches]` in f32.

    A head has one of five roles: diffuse (everywhere), sink (four fixed patches), noisy (random patches), weak (next to
    nothing) and localised (one object). The first two layers are diffuse and look at the picture most.
    """
    rng = np.random.default_rng(seed)
    roles = rng.choice(["diffuse", "sink", "noisy", "weak"], (LAYERS, HEADS), p=[0.35, 0.25, 0.15, 0.25])
    roles = roles.astype("<U9")
    for layer, head in zip(rng.integers(LAYERS // 4, LAYERS * 6 // 10, 10), rng.integers(0, HEADS, 10)):
        roles[layer, head] = "localised"
    roles[:2] = "diffuse"
    share_of = {"diffuse": 0.25, "sink": 0.3, "localised": 0.45, "noisy": 0.2, "weak": 0.04}
    y, x = np.mgrid[0:ROWS, 0:COLS]
    out = np.empty((count, LAYERS, HEADS, PATCHES), np.float32)
    for sample in out:
        sinks = np.append([PATCHES - 1, PATCHES - COLS], rng.integers(0, PATCHES, 2))
        centre, size = rng.uniform(5, 22, 2), rng.uniform(1.5, 3, 2)
        for layer in range(LAYERS):
            for head in range(HEADS):
                role = roles[layer, head]
                share = min(share_of[role] * math.exp(rng.normal(0, 0.25)), 0.93)
                if layer < 2:
                    share = rng.uniform(0.55, 0.85)
                logits = rng.normal(0, 0.6, PATCHES)
                if role == "sink":
                    logits[sinks] += rng.uniform(4.5, 6.5, sinks.size)
                elif role == "localised":
                    at = centre if rng.random() < 0.8 else rng.uniform(3, 24, 2)
                    distance = ((x - at[0]) / size[0]) ** 2 + ((y - at[1]) / size[1]) ** 2
                    logits = 0.7 * logits + 5 * np.exp(-0.5 * distance**1.5).ravel()
                elif role == "noisy":
                    logits[rng.integers(0, PATCHES, PATCHES // 60)] += rng.uniform(2, 5)
                elif role == "weak":
                    logits[sinks] += 1.5
                weights = np.exp(logits - logits.max())
                sample[layer, head] = weights * (share / weights.sum())
    return out


# ------------------------------------------------------------------------------------------------- numpy and scipy


def entropy_tight(row):
    """Spatial entropy of one row in f64, and its number of components."""
    total = row.sum()
    if total <= 0:
        return math.inf, 0
    excess = row * (1 / total) - 1 / PATCHES
    labels, n = ndimage.label((excess > FLOOR).reshape(ROWS, COLS), structure=EIGHT)
    if n == 0:
        return math.inf, 0
    if n == 1:
        return 0.0, 1
    mass = np.bincount(labels.ravel(), weights=excess, minlength=n + 1)[1:]
    share = mass / mass.sum()
    return -float((share * np.log(share)).sum()), n


def entropy_published(row):
    """The same with one boolean mask per component."""
    total = row.sum()
    if total <= 0:
        return math.inf, 0
    grid = (row / total).reshape(ROWS, COLS)
    excess = np.maximum(grid - grid.mean(), 0)
    labels, n = ndimage.label(excess > FLOOR, structure=EIGHT)
    if n == 0:
        return math.inf, 0
    masses = [excess[labels == i].sum() for i in range(1, n + 1)]
    total = sum(masses)
    return max(0.0, -sum(m / total * math.log(m / total) for m in masses)), n


def quantise(values):
    return np.floor(values * QUANTUM + 0.5).astype(np.int64)


def elbow(sums_q):
    """Which heads give the picture enough, `[layers, heads]`."""
    pool = np.sort(sums_q[EXCLUDED_LAYERS:].ravel())
    steps = np.arange(pool.size)
    gap = np.abs((pool.size - 1) * (pool - pool[0]) - steps * (pool[-1] - pool[0]))
    keep = sums_q >= pool[np.argmax(gap)]
    keep[:EXCLUDED_LAYERS] = False
    return keep


def select_mask(sample):
    """Flat indices of the selected heads, and the mask, of one sample `[layers, heads, patches]` in f32."""
    rows = sample.astype(np.float64)
    assert np.isfinite(rows).all() and (rows >= 0).all()
    sums = rows.sum(-1)
    assert (sums <= 1.01).all()
    keep = elbow(quantise(sums))
    keep &= rows[..., -COLS:].max(-1) <= BOTTOM * sums
    flat = rows.reshape(-1, PATCHES)
    entropies = np.array([entropy_tight(row)[0] for row in flat])
    passed = np.flatnonzero(keep.ravel() & np.isfinite(entropies))
    order = passed[np.argsort(quantise(entropies[passed]), kind="stable")]
    # Every candidate has the one vote of this sample, so the earliest are selected.
    heads = np.sort(order[:CANDIDATES])[:SELECTED]
    heat = sum(ndimage.gaussian_filter(flat[h].reshape(ROWS, COLS), 1.0) for h in heads)
    q = quantise(heat.ravel() / heat.max())
    falling = np.argsort(-q, kind="stable")
    target = min(max(math.ceil(0.6 * float(q.sum())), 1), int(q.sum()))
    kept = np.searchsorted(np.cumsum(q[falling]), target) + 1
    base = np.zeros(PATCHES, bool)
    base[falling[:kept]] = True
    labels, _ = ndimage.label(base.reshape(ROWS, COLS), structure=EIGHT)
    labels = labels.ravel()
    return heads, labels == labels[falling[0]]


# ------------------------------------------------------------------------------------------------------------- ours


def build():
    """Builds the example and returns its path, wherever cargo puts it."""
    command = ["cargo", "build", "--release", "-p", "gazelab-grounding", "--example", "time_grounding"]
    done = subprocess.run([*command, "--message-format=json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"`{' '.join(command)}` failed")
    messages = map(json.loads, done.stdout.splitlines())
    programs = [m["executable"] for m in messages if m.get("executable")]
    return programs[-1]


class Ours:
    """One job of the example on one file of rows."""

    def __init__(self, program, job, rows, samples, results):
        shape = (samples, LAYERS, HEADS, ROWS, COLS)
        self.command = [program, job, str(rows), *map(str, shape), "3", str(results)]
        self.results = results

    def seconds(self):
        done = subprocess.run(self.command, stdout=subprocess.PIPE, check=True)
        return min(json.loads(done.stdout)["seconds"])


# ---------------------------------------------------------------------------------------------------------- contest


def timed(job):
    start = time.process_time()
    job()
    return time.process_time() - start


def reference_module():
    """The reference implementation of the fixtures, or nothing."""
    folder = Path(os.environ.get("GAZELAB_FIXTURES", ROOT.parent / "shared/fixtures/grounding"))
    if not (folder / "reference.py").is_file():
        return None
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    import reference

    return reference


def assert_same(got, want, what):
    """Entropies equal to 1e-9, infinite together, and the same components."""
    got, want = np.asarray(got), np.asarray(want)
    assert np.array_equal(np.isinf(got[:, 0]), np.isinf(want[:, 0])), f"{what}: infinite entropies differ"
    finite = np.isfinite(want[:, 0])
    error = np.abs(got[finite, 0] - want[finite, 0]).max()
    assert error <= 1e-9, f"{what}: entropies differ by {error}"
    assert np.array_equal(got[:, 1], want[:, 1]), f"{what}: components differ"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    program = build()
    attention = make_samples(options.seed, options.samples)
    maps = attention.reshape(-1, PATCHES).astype(np.float64)
    reference = reference_module()

    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.f32"
        attention.astype("<f4").tofile(rows)
        ours = {
            job: Ours(program, job, rows, options.samples, Path(folder) / job)
            for job in ("entropy", "select_mask")
        }
        others = {
            "entropy": {
                "tight": lambda: [entropy_tight(row) for row in maps],
                "published": lambda: [entropy_published(row) for row in maps],
            },
            "select_mask": {"": lambda: [select_mask(sample) for sample in attention]},
        }
        if reference:

            def select_mask_reference(sample):
                rows = reference.check_attention(sample, ROWS, COLS)
                heads = sorted(reference.sample_candidates(rows, ROWS, COLS, reference.SelectOpts())["cand"])[:SELECTED]
                heat = reference.selected_sum(rows, ROWS, COLS, heads)
                q = reference.quantise_map(heat, ROWS, COLS)
                mask = reference.region_component(q, reference.mask_keep_mass(q), ROWS, COLS)
                return [layer * HEADS + head for layer, head in heads], mask

            others["entropy"]["reference"] = lambda: [
                reference.spatial_entropy(row, ROWS, COLS)[:2] for row in maps
            ]
            others["select_mask"]["reference"] = lambda: [select_mask_reference(s) for s in attention]

        # Nothing is timed that does not agree.
        for job in ours.values():
            job.seconds()
        found = np.fromfile(ours["entropy"].results, "<f8").reshape(-1, 2)
        for name, contender in others["entropy"].items():
            assert_same(found, contender(), name)
        found = np.fromfile(ours["select_mask"].results, "<u4").reshape(options.samples, SELECTED + PATCHES)
        for name, contender in others["select_mask"].items():
            for got, (heads, mask) in zip(found, contender()):
                assert np.array_equal(got[:SELECTED], heads), f"select_mask {name}: heads differ"
                assert np.array_equal(got[SELECTED:], np.asarray(mask)), f"select_mask {name}: masks differ"
        components = [n for _, n in others["entropy"]["tight"]()]
        print(
            f"{len(maps)} maps of {ROWS} x {COLS} in {options.samples} samples, {np.mean(components):.0f} components "
            f"per map; entropies, components, heads and masks are equal"
        )

        best = {}
        for _ in range(options.repetitions):
            for job, contenders in others.items():
                turns = {"ours": ours[job].seconds, **{n: (lambda f=f: timed(f)) for n, f in contenders.items()}}
                for name, turn in turns.items():
                    best[job, name] = min(best.get((job, name), math.inf), turn())

    ratios = []
    for job, unit, count in (("entropy", "maps", len(maps)), ("select_mask", "samples", options.samples)):
        for name in ("ours", *others[job]):
            seconds = best[job, name]
            print(f"{job:12} {name or 'tight':10} {count / seconds:12,.0f} {unit}/s  {seconds / count * 1e6:10.2f} µs")
            if name != "ours":
                ratios.append((f"{job}_{name}" if name else job, seconds / best[job, "ours"]))
    for name, ratio in ratios:
        print(f"ratio {name} {ratio:.2f}")


if __name__ == "__main__":
    main()
