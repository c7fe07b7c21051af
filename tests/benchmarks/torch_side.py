"""PyTorch's side of the comparison: the training loop that its users write, with the model and options of charrnn.

As a program it trains a whole run (see compare_torch.py --whole) and prints the result as JSON:
python torch_side.py TEXT MINUTES THREADS HIDDEN_SIZE BATCH_SIZE SEQ_LENGTH DROPOUT LEARNING_RATE
"""

import json
import os
import sys
import time

import torch
from torch import nn

CLIP_NORM = 1.0
# The constants of charrnn's trainer:
AVERAGED_SHARE = 0.1  # of all steps, covered by the average of the weights
EVALUATIONS = 20  # in a run
MIN_TRAINED_PER_VALIDATED = 8  # characters


class TorchModel:
    """nn.LSTM, nn.GRU or nn.RNN on one-hot input, a linear head, and Adam.

    dropout: of the outputs (the same mask at every step) and of the elements of W_hh; for one layer only.
    device: `torch` for the CPU, or a device of PyTorch.
    """

    def __init__(self, cell, layers, hidden_size, num_symbols, dropout=0.0, device="torch", learning_rate=1e-3):
        torch.manual_seed(1)
        torch.set_default_device("cpu" if device == "torch" else device)
        if device.startswith("cuda"):  # as charrnn's --precision float32
            torch.backends.cuda.matmul.fp32_precision = "ieee"
            torch.backends.cudnn.rnn.fp32_precision = "ieee"
        if dropout and layers > 1:
            raise ValueError("dropout needs a model of one layer")
        self.is_lstm = cell == "lstm"
        self.num_symbols = num_symbols
        self.dropout = dropout
        self.rnn = getattr(nn, cell.upper())(num_symbols, hidden_size, layers)
        self.head = nn.Linear(hidden_size, num_symbols)
        self.parameters = [*self.rnn.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate, betas=(0.9, 0.99))
        self.state = None

    def dropout_mask(self, *shape):
        return (torch.rand(shape) >= self.dropout) / (1 - self.dropout)

    def hidden_states(self, x, state):
        """Ids (T, B) -> hidden states of the top layer (T, B, H), and the next state."""
        x = nn.functional.one_hot(x, self.num_symbols).float()
        if not (self.dropout and torch.is_grad_enabled()):
            return self.rnn(x, state)
        w_hh = self.rnn.weight_hh_l0
        masked = {"weight_hh_l0": w_hh * self.dropout_mask(*w_hh.shape)}
        y, state = torch.func.functional_call(self.rnn, masked, (x, state))
        return y * self.dropout_mask(*y.shape[1:]), state

    def loss(self, x, targets):
        """The mean loss of a batch of ids (T, B). The state is carried from the batch before."""
        if self.state is not None:
            self.state = tuple(s.detach() for s in self.state) if self.is_lstm else self.state.detach()
        y, self.state = self.hidden_states(x, self.state)
        return nn.functional.cross_entropy(self.head(y).reshape(-1, self.num_symbols), targets.reshape(-1))

    def step(self, x, targets):
        loss = self.loss(x, targets)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
        self.optimizer.step()

    def wait(self):
        """Waits until the device has finished all steps."""
        self.head.bias[0].item()

    def sample(self, length):
        with torch.inference_mode():
            ids = torch.zeros(1, 1, dtype=torch.long)
            state = None
            for _ in range(length):
                y, state = self.hidden_states(ids, state)
                ids = torch.multinomial(torch.softmax(self.head(y[-1]), dim=-1), 1)
                ids.item()


class WholeRun:
    """Trains on a text as `charrnn train` does: averaged weights, evaluations and saves at the same times."""

    def __init__(self, path, hidden_size, batch_size, seq_length, dropout, learning_rate):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        symbols = {symbol: n for n, symbol in enumerate(sorted(set(text)))}
        ids = torch.tensor([symbols[symbol] for symbol in text])
        val_size = len(ids) // 10
        self.chars_per_step = batch_size * seq_length
        self.val_size = val_size
        self.training = windows(ids[:-val_size], batch_size, seq_length)
        self.validation = windows(ids[-val_size:], batch_size, seq_length)
        self.model = TorchModel("lstm", 1, hidden_size, len(symbols), dropout, learning_rate=learning_rate)
        self.average = [parameter.detach().clone() for parameter in self.model.parameters]
        self.steps = 0

    def train(self, start, minutes):
        """start: the time at which the run began. Returns the result."""
        evaluated_step = 0
        milestone = 0
        while (progress := (time.monotonic() - start) / 60 / minutes) < 1:
            self.step()
            trained = (self.steps - evaluated_step) * self.chars_per_step
            is_milestone = int(EVALUATIONS * progress) != milestone
            if is_milestone and trained >= MIN_TRAINED_PER_VALIDATED * self.val_size:
                self.evaluate()
                self.save_all()
                evaluated_step = self.steps
                milestone = int(EVALUATIONS * progress)
        loss = self.evaluate()
        self.save_all()
        return {"chars": self.steps * self.chars_per_step, "best_val_loss": loss}

    def step(self):
        position = self.steps % len(self.training)
        if position == 0:
            self.model.state = None
        self.model.step(*self.training[position])
        for parameter, mean in zip(self.model.parameters, self.average, strict=True):
            mean.lerp_(parameter.detach(), 1 / (1 + AVERAGED_SHARE * self.steps))
        self.steps += 1

    def evaluate(self):
        """The loss of the averaged weights, which are saved."""
        training_state = self.model.state
        self.model.state = None
        total = 0.0
        count = 0
        self.swap_weights()
        with torch.no_grad():
            for x, targets in self.validation:
                total += self.model.loss(x, targets).item() * x.numel()
                count += x.numel()
        self.swap_weights()
        self.model.state = training_state
        save("best.pt", self.average)
        return total / count

    def swap_weights(self):
        """Exchanges the weights of the model and their average."""
        for parameter, mean in zip(self.model.parameters, self.average, strict=True):
            parameter.data, mean.data = mean.data, parameter.data

    def save_all(self):
        save("last.pt", [self.model.parameters, self.average, self.model.optimizer.state_dict(), self.model.state])


def windows(ids, batch_size, seq_length):
    """A text as a list of batches: inputs and targets (T, B). Stream b reads the b-th of B equal parts."""
    columns = (len(ids) - 1) // batch_size
    streams = ids[: columns * batch_size + 1]
    x, targets = (part.reshape(batch_size, columns).T for part in (streams[:-1], streams[1:]))
    return [(x[t : t + seq_length], targets[t : t + seq_length]) for t in range(0, columns, seq_length)]


def save(name, value):
    """Writes a temporary file, syncs it and renames it."""
    with open(f"{name}.part", "wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{name}.part", name)


def main():
    start = time.monotonic()
    path, minutes, threads, hidden_size, batch_size, seq_length, dropout, learning_rate = sys.argv[1:]
    torch.set_num_threads(int(threads))
    run = WholeRun(path, int(hidden_size), int(batch_size), int(seq_length), float(dropout), float(learning_rate))
    print(json.dumps(run.train(start, float(minutes))))


if __name__ == "__main__":
    main()
