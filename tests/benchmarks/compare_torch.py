"""Compares the speed of charrnn and PyTorch. README.md in this folder has the results.

    python tests/benchmarks/compare_torch.py                    training and sampling, all cells and shapes
    python tests/benchmarks/compare_torch.py --device torch     also charrnn's engine on PyTorch; training only
    python tests/benchmarks/compare_torch.py --whole TEXT       whole runs: start, training, evaluations and saves

Both sides train the same model: one-hot input of 65 symbols, L layers of H units, Adam, clipping by global norm, state
carried from batch to batch, float32. The shape 1x256, the default of charrnn, also has dropout of the outputs and of
W_hh. PyTorch runs nn.LSTM, nn.GRU or nn.RNN with one thread or with all cores, whichever is faster. charrnn has its
default number of workers.

Each side is a process of its own. The sides take turns (A B A B ...), and a process sleeps while another one is
measured. The results are the medians of the turns. The memory is the proportional set size of all processes of a side,
at the end of training. On one core (taskset -c 0 python ...) processor time is measured instead of elapsed time, so
other programs may run.

With --device DEVICE, PyTorch's side runs on that device too, and nothing is sampled. If DEVICE is a GPU, the NumPy
engine is not measured.
"""

import argparse
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

NUM_SYMBOLS = 65  # as in Tiny Shakespeare
SHAPES = {  # name: hidden size, batch size, sequence length; the name is layers x hidden size
    "2x128": (128, 50, 50),
    "2x256": (256, 64, 64),
    "2x512": (512, 64, 128),
    "1x256": (256, 32, 64),
    "1x512": (512, 128, 128),
    "2x1024": (1024, 128, 128),
    "3x1024": (1024, 128, 128),
}
DEFAULT_SHAPES = "2x128,2x256,2x512,1x256"
DROPOUT = 0.12  # of models of one layer
SHARED_OPTIONS = (
    "batch_size",
    "seq_length",
    "dropout",
    "learning_rate",
)  # that PyTorch's whole run takes from charrnn's
SAMPLE_LENGTH = 1000  # characters


class CharRNNSide:
    """The training step of charrnn's trainer, on a constant random batch, and its sampling."""

    def __init__(self, cell, layers, hidden_size, batch_size, seq_length, device):
        import numpy as np

        from charrnn.corpus.batch import Batch
        from charrnn.engines.select import new_engine
        from charrnn.models.architecture import Architecture
        from charrnn.models.transfer import initial_parameters
        from charrnn.options import ResolvedTraining
        from charrnn.training.defaults import default_workers
        from charrnn.training.sizing import ConstantStream

        self.architecture = Architecture(
            cell=cell, hidden_size=hidden_size, num_layers=layers, input_size=NUM_SYMBOLS, output_size=NUM_SYMBOLS
        )
        dropout = DROPOUT if layers == 1 else 0.0
        train = ResolvedTraining(
            batch_size=batch_size,
            seq_length=seq_length,
            optimizer="adam",
            learning_rate=1e-3,
            dropout=dropout,
            recurrent_dropout=dropout,
            workers=default_workers(batch_size),
            device=device,
        )
        self.engine = new_engine(self.architecture, train).__enter__()
        parameters = initial_parameters(self.architecture, train.seed)
        self.engine.load(parameters=parameters, average=parameters)
        x, targets = np.random.default_rng(1).integers(0, NUM_SYMBOLS, (2, seq_length, batch_size))
        self.engine.stream = ConstantStream(Batch(x, targets))
        self.steps = itertools.count()

    def train_step(self):
        from charrnn.nn.optimizers import clip_factor

        train = self.engine.train
        _, norm = self.engine.gradient(next(self.steps))
        self.engine.update(train.learning_rate, clip_factor(norm, train.clip_norm))

    def wait(self):
        """The engine has finished each step when it returns."""

    def sample(self, length):
        import numpy as np
        from threadpoolctl import threadpool_limits

        from charrnn.corpus.vocabulary import Vocabulary
        from charrnn.options import SamplingOptions
        from charrnn.runs.checkpoint import Checkpoint
        from charrnn.tasks.language.model import TextModel

        vocabulary = Vocabulary(np.arange(32, 32 + NUM_SYMBOLS, dtype=np.uint32))
        task = {"name": "lm", **vocabulary.to_dict(), "lines": False}
        model = TextModel(Checkpoint(self.architecture, task, self.engine.parameters))
        with threadpool_limits(self.engine.train.workers):  # as in `charrnn sample`, where no engine limits the threads
            for _ in model.sample_many(model.vocabulary.encode("A"), length, [1], SamplingOptions()):
                pass


class TorchSide:
    """PyTorch's training step, on a constant random batch, and its sampling."""

    def __init__(self, cell, layers, hidden_size, batch_size, seq_length, device):
        import torch
        from torch_side import TorchModel

        self.model = TorchModel(cell, layers, hidden_size, NUM_SYMBOLS, DROPOUT if layers == 1 else 0.0, device)
        self.x, self.targets = torch.randint(0, NUM_SYMBOLS, (2, seq_length, batch_size))
        self.wait = self.model.wait
        self.sample = self.model.sample

        def seconds_with(threads):
            torch.set_num_threads(threads)
            self.train_step()
            start = time.perf_counter()
            for _ in range(5):
                self.train_step()
            return time.perf_counter() - start

        torch.set_num_threads(min((1, num_cores()), key=seconds_with))

    def train_step(self):
        self.model.step(self.x, self.targets)


def num_cores():
    return len(os.sched_getaffinity(0))


def serve(side, cell, device, layers, hidden_size, batch_size, seq_length):
    """The process of one side. Reads `train SECONDS`, `sample SECONDS` or `memory SECONDS` from stdin, one per line.
    Answers with characters per second or with megabytes."""
    kind = TorchSide if side == "torch" else CharRNNSide
    subject = kind(cell, layers, hidden_size, batch_size, seq_length, "cpu" if side == "numpy" else device)
    work = {
        "train": (subject.train_step, batch_size * seq_length),
        "sample": (lambda: subject.sample(SAMPLE_LENGTH), SAMPLE_LENGTH),
    }
    for line in sys.stdin:
        request, seconds = line.split()
        if request == "memory":
            answer = proportional_set_size()
        else:
            function, chars = work[request]
            answer = chars * calls_per_second(function, subject.wait, float(seconds))
        print(answer, flush=True)


def calls_per_second(function, wait, seconds):
    """At least two calls, after one that is not counted."""
    clock = time.process_time if num_cores() == 1 else time.perf_counter
    function()
    calls = 0
    start = clock()
    while clock() - start < seconds or calls < 2:
        function()
        calls += 1
    wait()
    return calls / (clock() - start)


def proportional_set_size():
    """Megabytes of this process and its children. Linux only."""
    children = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True).stdout.split()
    total = 0
    for pid in [str(os.getpid()), *children]:
        rollup = Path(f"/proc/{pid}/smaps_rollup")
        if rollup.exists():
            total += next(int(line.split()[1]) for line in rollup.read_text().splitlines() if line.startswith("Pss:"))
    return total / 1024


def compare(cell, shape, rounds, seconds, device):
    """Measures all sides in turn. Returns medians and ratios as a dictionary."""
    layers = shape.split("x")[0]
    hidden_size, batch_size, seq_length = SHAPES[shape]
    if device is None:
        names = ["numpy", "torch"]
    elif device == "torch":
        names = ["numpy", "torch", "engine"]
    else:
        names = ["torch", "engine"]
    numbers = [layers, str(hidden_size), str(batch_size), str(seq_length)]
    sides = {name: start_side(name, [cell, device or "torch", *numbers]) for name in names}

    def ask(name, request):
        process = sides[name]
        process.stdin.write(f"{request} {seconds}\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    row = {"cell": cell, "shape": shape, "batch_size": batch_size, "seq_length": seq_length}
    for request in ("train", "sample") if device is None else ("train",):
        for name in names:
            ask(name, request)  # not counted
        turns = [{name: ask(name, request) for name in names} for _ in range(rounds)]
        row[request] = {name: statistics.median(turn[name] for turn in turns) for name in names}
        row[request]["ratios"] = {
            f"{first} / {second}": sorted(turn[first] / turn[second] for turn in turns)
            for first, second in itertools.combinations(names, 2)
        }
        if request == "train":
            row["memory_mb"] = {name: ask(name, "memory") for name in names}
    for process in sides.values():
        process.stdin.close()
        process.wait()
    return row


def start_side(name, arguments):
    """numpy: charrnn's engine on NumPy. engine: charrnn's engine on PyTorch. torch: plain PyTorch."""
    command = [sys.executable, __file__, "--serve", name, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def compare_whole_runs(text, rounds, minutes):
    """Prints a line for each run, and the median of the ratios."""
    torch_script = str(Path(__file__).with_name("torch_side.py"))
    command = ["-m", "charrnn", "train", text, "--json", "--quiet", "--max-minutes", str(minutes)]
    ratios = []
    for _ in range(rounds):
        rate, config = time_run("charrnn", command)
        options = [str(config["model"]["hidden_size"]), *(str(config["train"][name]) for name in SHARED_OPTIONS)]
        torch_rates = [
            time_run(f"torch, {threads} threads", [torch_script, text, str(minutes), str(threads), *options])[0]
            for threads in (1, 2)
        ]
        ratios.append(rate / max(torch_rates))
    ratios.sort()
    print(f"charrnn / faster of torch: {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")


def time_run(label, arguments):
    """Runs a program. Returns the characters trained per second of its whole run time, and its configuration."""
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        command = [sys.executable, *arguments]
        output = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout
        seconds = time.perf_counter() - start
    result = json.loads(output)
    rate = result["chars"] / seconds
    print(f"{label:16} {rate:8,.0f} characters/s in {seconds:.1f} s, loss {result['best_val_loss']:.4f}", flush=True)
    return rate, result.get("config")


def format_row(row):
    """One line: medians, and for each pair of sides the median and range of the ratios."""
    line = f"{row['cell']:4} {row['shape']} B{row['batch_size']} T{row['seq_length']}"
    for request in ("train", "sample") if "sample" in row else ("train",):
        medians = {name: number for name, number in row[request].items() if name != "ratios"}
        line += f"   {request}: " + "  ".join(f"{name} {number:,.0f}" for name, number in medians.items())
        for pair, ratios in row[request]["ratios"].items():
            line += f"  {pair} {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
    return f"{line}   memory {' / '.join(f'{number:.0f}' for number in row['memory_mb'].values())} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", default="lstm,gru,rnn")
    parser.add_argument("--shapes", default=DEFAULT_SHAPES, help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--whole", metavar="TEXT", help="compare whole runs on this text")
    parser.add_argument("--minutes", type=float, default=1.0, help="length of a whole run")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", help="torch, cuda ...: measure charrnn's engine on PyTorch on this device too")
    parser.add_argument("--serve", nargs=7, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        side, cell, device, *numbers = options.serve
        serve(side, cell, device, *map(int, numbers))
        return
    if importlib.util.find_spec("torch") is None:
        sys.exit("compare_torch.py needs PyTorch: pip install torch")
    if options.whole:
        compare_whole_runs(str(Path(options.whole).resolve()), options.rounds, options.minutes)
        return
    if not options.json:
        print("characters/s: medians; ratios: medians and ranges")
    rows = []
    for cell in options.cells.split(","):
        for shape in options.shapes.split(","):
            rows.append(compare(cell, shape, options.rounds, options.seconds, options.device))
            if not options.json:
                print(format_row(rows[-1]), flush=True)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
