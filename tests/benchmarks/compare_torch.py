"""Training and sampling speed beside PyTorch: python tests/benchmarks/compare_torch.py [--json] [--cells lstm,gru] ...

The same model on both sides: one-hot input, L x H, V = 65, Adam, clipping by global norm, state carried, float32.
PyTorch runs nn.LSTM/GRU/RNN with its default threads; charrnn its default workers. Each side is a process of its own
that sleeps while the other runs; they take turns (A B A B ...), and the medians of the turns are shown.
Memory is the proportional set size of a side's processes, all together, at the end of its training turns.

On one core (taskset -c 0 python tests/benchmarks/compare_torch.py) it is the processor's time that counts, not the
clock's, so that the machine may be shared. With --device DEVICE a third side trains: charrnn's engine on PyTorch there;
and PyTorch's own side goes there too. Nothing samples then.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

VOCABULARY = 65
SHAPES = {"2x128": (128, 50, 50), "2x256": (256, 64, 64), "2x512": (512, 64, 128)}  # layers x H: H, B, T
ON_A_GPU = {"1x512": (512, 128, 128), "2x1024": (1024, 128, 128), "3x1024": (1024, 128, 128)}


class CharRNN:
    """charrnn's side: its own training step, as the trainer takes it, and its own sampler."""

    def __init__(self, cell, layers, hidden, batch, length, device="cpu"):
        import numpy as np

        from charrnn.config import TrainConfig
        from charrnn.corpus.batch import Batch
        from charrnn.models.architecture import Architecture
        from charrnn.nn.optim import clip_factor
        from charrnn.nn.params import initialise
        from charrnn.training.choices import default_workers
        from charrnn.training.engine import new_team

        self.clip_factor = clip_factor
        shape = {"cell": cell, "hidden_size": hidden, "num_layers": layers}
        self.architecture = Architecture(**shape, input_size=VOCABULARY, output_size=VOCABULARY)
        workers = default_workers(batch)
        whole = {"optimizer": "adam", "dropout": 0.0, "recurrent_dropout": 0.0}
        train = TrainConfig(batch_size=batch, seq_length=length, workers=workers, device=device, **whole)
        self.team, self.steps = new_team(self.architecture, train).__enter__(), 0
        flat = np.empty(self.architecture.parameters, np.float32)
        initialise(self.architecture.specs(), flat, 1)
        self.team.load(params=flat, average=flat)
        self.batch = Batch(*np.random.default_rng(1).integers(0, VOCABULARY, (2, length, batch)))

    def step(self):
        self.team.set_batch(self.steps, self.batch)
        _, norm = self.team.gradient()
        self.team.update(1e-3, self.clip_factor(norm, 1.0))
        self.steps += 1

    def wait(self):
        pass

    def sample(self, count):
        from threadpoolctl import threadpool_limits

        from charrnn.config import SampleConfig
        from charrnn.inference.textmodel import TextModel
        from charrnn.nn.params import views
        from charrnn.storage.checkpoint import Checkpoint

        task = {"name": "lm", "vocabulary": list(range(32, 32 + VOCABULARY)), "bytes": False, "lines": False}
        weights = views(self.architecture.specs(), self.team.params)
        model = TextModel(Checkpoint(self.architecture, task, weights))
        with threadpool_limits(self.team.train.workers):  # as `charrnn sample` does, without a team beside it
            for _ in model.sample_many(model.vocabulary.encode("A"), count, [1], SampleConfig()):
                pass


class Torch:
    """PyTorch's side: the training step and the sampling loop that its users write."""

    def __init__(self, cell, layers, hidden, batch, length, device="cpu"):
        import torch
        from torch import nn

        self.torch, self.is_lstm = torch, cell == "lstm"
        torch.manual_seed(1)
        torch.set_default_device("cpu" if device == "torch" else device)
        if device.startswith("cuda"):
            torch.backends.fp32_precision = "ieee"  # as charrnn's --precision float32
        self.rnn = getattr(nn, cell.upper())(VOCABULARY, hidden, layers)
        self.head = nn.Linear(hidden, VOCABULARY)
        self.parameters = [*self.rnn.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3)
        self.x = torch.randint(0, VOCABULARY, (length, batch))
        self.targets = torch.randint(0, VOCABULARY, (length, batch))
        self.state = None

    def step(self):
        functional = self.torch.nn.functional
        if self.state is not None:
            self.state = tuple(s.detach() for s in self.state) if self.is_lstm else self.state.detach()
        y, self.state = self.rnn(functional.one_hot(self.x, VOCABULARY).float(), self.state)
        loss = functional.cross_entropy(self.head(y).reshape(-1, VOCABULARY), self.targets.reshape(-1))
        self.optimizer.zero_grad()
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()

    def wait(self):
        self.head.bias[0].item()

    def sample(self, count):
        torch = self.torch
        with torch.inference_mode():
            ids, state = torch.zeros(1, 1, dtype=torch.long), None
            for _ in range(count):
                y, state = self.rnn(torch.nn.functional.one_hot(ids, VOCABULARY).float(), state)
                probabilities = torch.softmax(self.head(y[-1]), dim=-1)
                ids = torch.multinomial(probabilities, 1)
                ids.item()


def serve(side, cell, device, layers, hidden, batch, length):
    """A side's process: reads `train SECONDS`, `sample SECONDS` or `memory`, answers with characters/s or megabytes."""
    kind, device = (Torch, device) if side == "torch" else (CharRNN, "cpu" if side == "charrnn" else device)
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
    words = [cell, device or "cpu", *numbers]
    sides = {
        side: subprocess.Popen(
            [sys.executable, __file__, "--serve", side, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side in ("charrnn", "torch", *(("engine",) if device else ()))
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
        ratios = sorted(turn["charrnn"] / turn["torch"] for turn in turns)
        row[order] = {side: statistics.median(turn[side] for turn in turns) for side in sides}
        row[order] |= {"ratio": statistics.median(ratios), "ratios": ratios}
        if device:
            of = {side: sorted(turn["engine"] / turn[side] for turn in turns) for side in ("charrnn", "torch")}
            row[order]["engine_ratios"] = of
        if order == "train":
            row["memory_mb"] = {side: ask(side, "memory") for side in sides}
    for process in sides.values():
        process.stdin.close()
        process.wait()
    return row


def shown(row):
    """A row as a line."""
    train, memory = row["train"], row["memory_mb"]
    low, high = train["ratios"][0], train["ratios"][-1]
    line = f"{row['cell']:4} {row['shape']} B{row['batch']} T{row['seq_length']:<4}"
    line += f"{train['charrnn']:16,.0f} {train['torch']:10,.0f}  {train['ratio']:.2f} ({low:.2f}-{high:.2f})"
    if "sample" in row:
        sample = row["sample"]
        line += f"{sample['charrnn']:19,.0f} {sample['torch']:8,.0f}  {sample['ratio']:.1f}"
    else:
        line += f"  engine {train['engine']:10,.0f}"
        for side, ratios in train["engine_ratios"].items():
            line += f"  {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) of {side}"
    return f"{line}   memory {' / '.join(f'{number:.0f}' for number in memory.values())} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", default="lstm,gru,rnn")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
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
    rows = []
    if not options.json:
        last = "charrnn's engine there" if options.device else "sampling: charrnn  torch  ratio"
        print(f"median characters/s           charrnn      torch  ratio (min-max)       {last}")
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
