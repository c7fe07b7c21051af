"""Compares the training speed of an encoder and decoder with attention in charrnn and in PyTorch.

    python tests/benchmarks/compare_torch_pairs.py PAIRS.tsv --target-separator " "

Both sides train the same network on the same batches of the file: a bidirectional encoder, attention, a decoder, Adam
and clipping by global norm, in float32 without dropout. PyTorch runs bidirectional nn.LSTM, nn.GRU or nn.RNN on packed
sources, and scaled_dot_product_attention, with one thread or with all cores, whichever is faster. charrnn has its
default number of workers. Each side is a process of its own; the sides take turns, and the results are medians of the
turns.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time

from compare_torch import calls_per_second, num_cores

BATCHES = 50  # different batches; they are repeated


def read_training(path, separator, cell, hidden_size):
    """The architecture, the resolved options and the batches of `charrnn train --task translate`."""
    from charrnn.options import RunConfig
    from charrnn.tasks.registry import read_task
    from charrnn.training.defaults import resolve_options

    options = {"task": "translate", "cell": cell, "hidden_size": hidden_size, "max_steps": 1, "embedding_size": 64}
    options |= {"dropout": 0.0, "recurrent_dropout": 0.0}
    config = RunConfig.from_options([path], options | ({"target_separator": separator} if separator else {}))
    task = read_task(config)
    resolved = resolve_options(config.model, config.train, task)
    train = resolved.train
    stream = task.training_stream(train.batch_size, train.seq_length, train.seed)
    return task.architecture(resolved.model), train, [stream.batch(step) for step in range(BATCHES)]


class Cycle:
    """A stream that repeats some batches."""

    epoch_steps = float(BATCHES)
    symbols_per_step = 1.0

    def __init__(self, batches):
        self.batches = batches

    def batch(self, step):
        return self.batches[step % len(self.batches)]


class CharRNNSide:
    def __init__(self, architecture, train, batches):
        from charrnn.engines.select import new_engine
        from charrnn.models.transfer import initial_parameters

        self.engine = new_engine(architecture, train).__enter__()
        parameters = initial_parameters(architecture, train.seed)
        self.engine.load(parameters=parameters, average=parameters)
        self.engine.stream = Cycle(batches)
        self.steps = itertools.count()

    def train_step(self):
        from charrnn.nn.optimizers import clip_factor

        _, norm = self.engine.gradient(next(self.steps))
        self.engine.update(1e-3, clip_factor(norm, 1.0))


class TorchSide:
    def __init__(self, architecture, train, batches):
        import torch
        from torch import nn

        torch.manual_seed(1)
        a = architecture
        layer = getattr(nn, a.cell.upper())
        self.is_lstm = a.cell == "lstm"
        states = 2 if self.is_lstm else 1
        self.modules = nn.ModuleDict(
            {
                "source_embedding": nn.Embedding(a.source_size, a.embedding_size),
                "encoder": layer(a.embedding_size, a.encoder_size, a.num_layers, bidirectional=True),
                "bridge": nn.Linear(2 * states * a.encoder_size, a.num_layers * states * a.hidden_size),
                "embedding": nn.Embedding(a.input_size, a.embedding_size),
                "rnn": layer(a.embedding_size, a.hidden_size, a.num_layers),
                "attention": nn.Linear(a.hidden_size, a.memory_width, bias=False),
                "combine": nn.Linear(a.memory_width + a.hidden_size, a.hidden_size),
                "head": nn.Linear(a.hidden_size, a.output_size),
            }
        )
        self.optimizer = torch.optim.Adam(self.modules.parameters(), lr=1e-3, betas=(0.9, 0.99))
        self.layers = a.num_layers
        self.batches = itertools.cycle([self.convert(batch) for batch in batches])

        def seconds_with(threads):
            torch.set_num_threads(threads)
            self.train_step()
            start = time.perf_counter()
            for _ in range(20):
                self.train_step()
            return time.perf_counter() - start

        torch.set_num_threads(min((1, num_cores()), key=seconds_with))

    @staticmethod
    def convert(batch):
        """Ids, targets (-100 where nothing is scored), sources aligned at their starts (S, B), and their lengths."""
        import numpy as np
        import torch

        steps = len(batch.source.x)
        source = np.zeros(batch.source.x.shape, np.int64)
        for b, length in enumerate(batch.source.lengths.tolist()):
            source[:length, b] = batch.source.x[steps - length :, b]
        targets = np.where(batch.loss_mask > 0, batch.targets.astype(np.int64), -100)
        lengths = torch.tensor(np.maximum(batch.source.lengths, 1))
        return torch.tensor(batch.x.astype(np.int64)), torch.tensor(targets), torch.tensor(source), lengths

    def train_step(self):
        import torch
        from torch import nn
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

        ids, targets, source, lengths = next(self.batches)
        m = self.modules
        packed = pack_padded_sequence(m["source_embedding"](source), lengths, enforce_sorted=False)
        memory, final = m["encoder"](packed)
        memory, _ = pad_packed_sequence(memory, total_length=len(source))
        top = torch.cat([state[-2:].transpose(0, 1) for state in (final if self.is_lstm else [final])], 2)
        initial = m["bridge"](top.reshape(len(lengths), -1)).reshape(len(lengths), self.layers, -1).transpose(0, 1)
        state = tuple(part.contiguous() for part in initial.chunk(2, 2)) if self.is_lstm else initial.contiguous()
        y, _ = m["rnn"](m["embedding"](ids), state)
        memory = memory.transpose(0, 1)  # (B, S, E)
        is_source = (torch.arange(memory.shape[1]) < lengths[:, None])[:, None]
        query = m["attention"](y.transpose(0, 1))
        context = nn.functional.scaled_dot_product_attention(query, memory, memory, is_source, scale=1.0)
        y = torch.tanh(m["combine"](torch.cat([context.transpose(0, 1), y], 2)))
        logits = m["head"](y)
        loss = nn.functional.cross_entropy(logits.reshape(-1, logits.shape[2]), targets.reshape(-1))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        self.optimizer.step()


def serve(name, training):
    """The process of one side: answers each line `SECONDS` on stdin with steps per second."""
    side = (TorchSide if name == "torch" else CharRNNSide)(*training)
    for line in sys.stdin:
        print(calls_per_second(side.train_step, lambda: None, float(line)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", help="file of lines source<TAB>target")
    parser.add_argument("--target-separator")
    parser.add_argument("--cells", default="lstm,gru,rnn")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(
            options.serve,
            read_training(options.pairs, options.target_separator, options.cells, options.hidden_size),
        )
        return
    print("steps/s: medians; ratio: median and range of the turns")
    for cell in options.cells.split(","):
        command = [sys.executable, __file__, options.pairs, "--cells", cell, "--hidden-size", str(options.hidden_size)]
        if options.target_separator:
            command += ["--target-separator", options.target_separator]
        sides = {
            name: subprocess.Popen(
                [*command, "--serve", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for name in ("charrnn", "torch")
        }

        def ask(name, sides=sides):
            print(options.seconds, file=sides[name].stdin, flush=True)
            return float(sides[name].stdout.readline())

        for name in sides:
            ask(name)  # not counted
        turns = [{name: ask(name) for name in sides} for _ in range(options.rounds)]
        ratios = sorted(turn["charrnn"] / turn["torch"] for turn in turns)
        medians = "  ".join(f"{name} {statistics.median(turn[name] for turn in turns):.1f}" for name in sides)
        spread = f"({ratios[0]:.2f}-{ratios[-1]:.2f})"
        print(f"{cell:4} {medians}  ratio {statistics.median(ratios):.2f} {spread}", flush=True)
        for process in sides.values():
            process.stdin.close()
            process.wait()


if __name__ == "__main__":
    main()
