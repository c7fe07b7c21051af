"""Training and sampling speed beside PyTorch: python tests/benchmarks/compare_torch.py [--json] [--cells lstm,gru] ...

The same model on both sides: one-hot input, L x H, V = 65, Adam, clipping by global norm, state carried, float32; the
shape 1x256 is charrnn's default, with dropout of the outputs and of W_hh. PyTorch runs nn.LSTM/GRU/RNN with as many
threads as are fastest, of 1 and all cores; charrnn its default workers. Each side is a process of its own that sleeps
while the other runs; they take turns (A B A B ...), and the medians of the turns are shown.
Memory is the proportional set size of a side's processes, all together, at the end of its training turns.

--whole TEXT compares whole runs of --minutes with start, evaluations and saves: the command `charrnn train` beside
torch_side.py, characters trained per second of the clock from the command's start to its end.

On one core (taskset -c 0 python tests/benchmarks/compare_torch.py) it is the processor's time that counts, not the
clock's, so that the machine may be shared. With --device DEVICE a third side trains: charrnn's engine on PyTorch there;
and PyTorch's own side goes there too. Nothing samples then; the NumPy engine stays at home where DEVICE is a GPU.
"""

import argparse
import functools
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VOCABULARY = 65
SHAPES = {  # layers x H: H, B, T
    "2x128": (128, 50, 50),
    "2x256": (256, 64, 64),
    "2x512": (512, 64, 128),
    "1x256": (256, 32, 64),
}
SAME = ("batch_size", "seq_length", "dropout", "learning_rate")  # of charrnn's default run, for PyTorch's
DROPOUT = 0.12  # of the default shape
ON_A_GPU = {"1x512": (512, 128, 128), "2x1024": (1024, 128, 128), "3x1024": (1024, 128, 128)}


class CharRNN:
    """charrnn's side: its own training step, as the trainer takes it, and its own sampler."""

    def __init__(self, cell, layers, hidden, batch, length, device="cpu"):
        import numpy as np

        from charrnn.corpus.batch import Batch
        from charrnn.engines.select import new_team
        from charrnn.models.architecture import Architecture
        from charrnn.nn.optimizers import clip_factor
        from charrnn.nn.parameters import initialise
        from charrnn.options import TrainingOptions
        from charrnn.seeding import Purpose, random_generator
        from charrnn.training.defaults import default_workers
        from charrnn.training.sizing import Same

        self.clip_factor = clip_factor
        shape = {"cell": cell, "hidden_size": hidden, "num_layers": layers}
        self.architecture = Architecture(**shape, input_size=VOCABULARY, output_size=VOCABULARY)
        workers = default_workers(batch)
        dropout = DROPOUT if layers == 1 else 0.0
        whole = {"optimizer": "adam", "dropout": dropout, "recurrent_dropout": dropout}
        train = TrainingOptions(batch_size=batch, seq_length=length, workers=workers, device=device, **whole)
        self.team, self.steps = new_team(self.architecture, train).__enter__(), 0
        flat = np.empty(self.architecture.parameters, np.float32)
        initialise(self.architecture.specs(), flat, (random_generator(1, Purpose.PARAMETERS, n) for n in itertools.count()))
        self.team.load(params=flat, average=flat)
        self.team.stream = Same(Batch(*np.random.default_rng(1).integers(0, VOCABULARY, (2, length, batch))))

    def step(self):
        _, norm = self.team.gradient(self.steps)
        self.team.update(1e-3, self.clip_factor(norm, 1.0))
        self.steps += 1

    def wait(self):
        pass

    def sample(self, count):
        from threadpoolctl import threadpool_limits

        from charrnn.nn.parameters import named_views
        from charrnn.options import SamplingOptions
        from charrnn.runs.checkpoint import Checkpoint
        from charrnn.tasks.language.model import TextModel

        task = {"name": "lm", "vocabulary": list(range(32, 32 + VOCABULARY)), "bytes": False, "lines": False}
        weights = named_views(self.architecture.specs(), self.team.params)
        model = TextModel(Checkpoint(self.architecture, task, weights))
        with threadpool_limits(self.team.train.workers):  # as `charrnn sample` does, without a team beside it
            for _ in model.sample_many(model.vocabulary.encode("A"), count, [1], SamplingOptions()):
                pass


def torch_subject(cell, layers, hidden, batch, length, device="cpu"):
    """PyTorch's side on a random batch, with its best number of threads."""
    import torch
    from torch_side import Torch

    subject = Torch(cell, layers, hidden, VOCABULARY, DROPOUT if layers == 1 else 0.0, device)
    x, targets = torch.randint(0, VOCABULARY, (2, length, batch))
    step = functools.partial(subject.step, x, targets)

    def seconds(threads):
        torch.set_num_threads(threads)
        step()
        start = time.perf_counter()
        for _ in range(5):
            step()
        return time.perf_counter() - start

    torch.set_num_threads(min((1, len(os.sched_getaffinity(0))), key=seconds))
    subject.step = step
    return subject


def serve(side, cell, device, layers, hidden, batch, length):
    """A side's process: reads `train SECONDS`, `sample SECONDS` or `memory`, answers with characters/s or megabytes."""
    kind, device = (torch_subject, device) if side == "torch" else (CharRNN, "cpu" if side == "charrnn" else device)
    subject = kind(cell, layers, hidden, batch, length, device)
    now = time.process_time if len(os.sched_getaffinity(0)) == 1 else time.perf_counter
    for line in sys.stdin:
        order, seconds = line.split()
        if order == "memory":
            answer = proportional_set_size_mb()
        else:
            work, size = (subject.step, batch * length) if order == "train" else (lambda: subject.sample(1000), 1000)
            work()
            done, start = 0, now()
            while now() - start < float(seconds) or done < 2:
                work()
                done += 1
            subject.wait()
            answer = done * size / (now() - start)
        print(answer, flush=True)


def proportional_set_size_mb():
    """Of this process and its children (Linux)."""
    children = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True).stdout.split()
    total = 0
    for pid in [str(os.getpid()), *children]:
        rollup = Path(f"/proc/{pid}/smaps_rollup")
        if rollup.exists():
            total += next(int(line.split()[1]) for line in rollup.read_text().splitlines() if line.startswith("Pss:"))
    return total / 1024


def compare(cell, shape, rounds, seconds, device):
    hidden, batch, length = (SHAPES | ON_A_GPU)[shape]
    numbers = map(str, (shape.split("x")[0], hidden, batch, length))
    words, on_gpu = [cell, device or "cpu", *numbers], device not in (None, "torch")
    sides = {
        side: subprocess.Popen(
            [sys.executable, __file__, "--serve", side, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side in ("charrnn", "torch", "engine")
        if (device or side != "engine") and not (on_gpu and side == "charrnn")
    }

    def ask(side, order):
        process = sides[side]
        process.stdin.write(f"{order} {seconds}\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    row = {"cell": cell, "shape": shape, "batch": batch, "seq_length": length}
    for order in ("train",) if device else ("train", "sample"):
        for side in sides:
            ask(side, order)  # warm-up
        turns = [{side: ask(side, order) for side in sides} for _ in range(rounds)]
        row[order] = {side: statistics.median(turn[side] for turn in turns) for side in sides}
        row[order]["ratios"] = {
            f"{one} / {other}": sorted(turn[one] / turn[other] for turn in turns)
            for one, other in itertools.combinations(sides, 2)
        }
        if order == "train":
            row["memory_mb"] = {side: ask(side, "memory") for side in sides}
    for process in sides.values():
        process.stdin.close()
        process.wait()
    return row


def compare_whole(text, rounds, minutes):
    """Whole runs of both, in turn; a line each, and the median of their ratios."""
    charrnn = ["-c", "from charrnn.__main__ import main; main()", "train", text, "--json", "--quiet"]
    script, ratios = str(Path(__file__).with_name("torch_side.py")), []
    for _ in range(rounds):
        mine, config = whole("charrnn", [*charrnn, "--max-minutes", str(minutes)])
        same = [str(value) for value in (config["model"]["hidden_size"], *map(config["train"].get, SAME))]
        torch = [whole(f"torch, {n} threads", [script, text, str(minutes), str(n), *same])[0] for n in (1, 2)]
        ratios.append(mine / max(torch))
    ratios.sort()
    print(f"charrnn / the better of torch: {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")


def whole(side, arguments):
    """Runs a program, says how it went: characters a second of the clock, and its configuration."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        done = subprocess.run([sys.executable, *arguments], cwd=directory, capture_output=True, text=True, check=True)
        seconds, result = time.perf_counter() - began, json.loads(done.stdout)
    rate = result["chars"] / seconds
    print(f"{side:16} {rate:8,.0f} characters/s in {seconds:.1f} s, loss {result['best_val_loss']:.4f}", flush=True)
    return rate, result.get("config")


def shown(row):
    """A row as a line: medians, and the medians and ranges of the ratios."""
    line = f"{row['cell']:4} {row['shape']} B{row['batch']} T{row['seq_length']}"
    for order in ("train", "sample") if "sample" in row else ("train",):
        medians = {side: number for side, number in row[order].items() if side != "ratios"}
        line += f"   {order}: " + "  ".join(f"{side} {number:,.0f}" for side, number in medians.items())
        for pair, ratios in row[order]["ratios"].items():
            line += f"  {pair} {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
    return f"{line}   memory {' / '.join(f'{number:.0f}' for number in row['memory_mb'].values())} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", default="lstm,gru,rnn")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--whole", metavar="TEXT", help="compare whole runs on this text")
    parser.add_argument("--minutes", type=float, default=1.0, help="of a whole run")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", help="torch, cuda ...: time charrnn's engine on PyTorch there too")
    parser.add_argument("--serve", nargs=7, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        side, cell, device, *numbers = options.serve
        serve(side, cell, device, *map(int, numbers))
        return
    if importlib.util.find_spec("torch") is None:
        sys.exit("compare_torch.py needs PyTorch: pip install torch==2.13.0 (the CPU build)")
    if options.whole:
        compare_whole(str(Path(options.whole).resolve()), options.rounds, options.minutes)
        return
    rows = []
    if not options.json:
        print("characters/s: medians; ratios: medians and ranges")
    for cell in options.cells.split(","):
        for shape in options.shapes.split(","):
            row = compare(cell, shape, options.rounds, options.seconds, options.device)
            rows.append(row)
            if not options.json:
                print(shown(row), flush=True)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
