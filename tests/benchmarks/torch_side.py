"""PyTorch's side of the comparison: the loop that its users write, with the same model and the same work.

As a program, a whole run (see compare_torch.py --whole):
python tests/benchmarks/torch_side.py TEXT MINUTES THREADS HIDDEN BATCH LENGTH DROPOUT LEARNING_RATE
"""

import json
import os
import sys
import time

import torch
from torch import nn

CLIP_NORM = 1.0
AVERAGED_SHARE = 0.1  # of the steps, as charrnn averages its weights
EVALUATIONS, EVALUATION_SHARE = 20, 8  # as charrnn's trainer has them


class Torch:
    """nn.LSTM/GRU/RNN on one-hot input, a linear head, Adam. `dropout`, for one layer: variational on its outputs, and
    DropConnect on W_hh."""

    def __init__(self, cell, layers, hidden, vocabulary, dropout=0.0, device="cpu", learning_rate=1e-3):
        torch.manual_seed(1)
        torch.set_default_device("cpu" if device == "torch" else device)
        if device.startswith("cuda"):
            # As charrnn's --precision float32.
            torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.rnn.fp32_precision = "ieee"
        self.is_lstm, self.vocabulary, self.dropout = cell == "lstm", vocabulary, dropout
        assert not dropout or layers == 1
        self.rnn = getattr(nn, cell.upper())(vocabulary, hidden, layers)
        self.head = nn.Linear(hidden, vocabulary)
        self.parameters = [*self.rnn.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate, betas=(0.9, 0.99))
        self.state = None

    def mask(self, *shape):
        return (torch.rand(shape) >= self.dropout) / (1 - self.dropout)

    def outputs(self, x, state):
        """Ids (T, B) -> y (T, B, H) and the next state."""
        x = nn.functional.one_hot(x, self.vocabulary).float()
        if not (self.dropout and torch.is_grad_enabled()):
            return self.rnn(x, state)
        w_hh = self.rnn.weight_hh_l0
        y, state = torch.func.functional_call(self.rnn, {"weight_hh_l0": w_hh * self.mask(*w_hh.shape)}, (x, state))
        return y * self.mask(*y.shape[1:]), state

    def loss(self, x, targets):
        """The mean loss of a batch of ids (T, B), with the state carried from the last one."""
        if self.state is not None:
            self.state = tuple(s.detach() for s in self.state) if self.is_lstm else self.state.detach()
        y, self.state = self.outputs(x, self.state)
        return nn.functional.cross_entropy(self.head(y).reshape(-1, self.vocabulary), targets.reshape(-1))

    def step(self, x, targets):
        loss = self.loss(x, targets)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
        self.optimizer.step()

    def wait(self):
        self.head.bias[0].item()

    def sample(self, count):
        with torch.inference_mode():
            ids, state = torch.zeros(1, 1, dtype=torch.long), None
            for _ in range(count):
                y, state = self.outputs(ids, state)
                ids = torch.multinomial(torch.softmax(self.head(y[-1]), dim=-1), 1)
                ids.item()


def whole_run(path, minutes, hidden, batch, length, dropout, learning_rate):
    """Trains on a text as `charrnn train` does: averaged weights, validated and saved at the same times."""
    began = time.monotonic()
    with open(path, encoding="utf-8") as file:
        text = file.read()
    ids = {symbol: n for n, symbol in enumerate(sorted(set(text)))}
    data = torch.tensor([ids[symbol] for symbol in text])
    train, val = data[: -(len(data) // 10)], data[-(len(data) // 10) :]
    model = Torch("lstm", 1, hidden, len(ids), dropout, learning_rate=learning_rate)
    average = [parameter.detach().clone() for parameter in model.parameters]

    def windows(part):
        columns = (len(part) - 1) // batch
        streams = part[: columns * batch + 1]
        x, targets = (s.reshape(batch, columns).T for s in (streams[:-1], streams[1:]))
        return [(x[t : t + length], targets[t : t + length]) for t in range(0, columns, length)]

    def swap():
        for parameter, mean in zip(model.parameters, average, strict=True):
            parameter.data, mean.data = mean.data, parameter.data

    def save(name, what):
        with open(f"{name}.part", "wb") as file:
            torch.save(what, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{name}.part", name)

    def evaluate():
        kept, model.state, total, count = model.state, None, 0.0, 0
        swap()
        with torch.no_grad():
            for x, targets in held_back:
                total += model.loss(x, targets).item() * x.numel()
                count += x.numel()
        swap()
        model.state = kept
        save("best.pt", average)
        return total / count

    training, held_back, steps, evaluated, milestone = windows(train), windows(val), 0, 0, 0
    while (progress := (time.monotonic() - began) / 60 / minutes) < 1:
        if steps % len(training) == 0:
            model.state = None
        model.step(*training[steps % len(training)])
        for parameter, mean in zip(model.parameters, average, strict=True):
            mean.lerp_(parameter.detach(), 1 / (1 + AVERAGED_SHARE * steps))
        steps += 1
        enough = (steps - evaluated) * batch * length >= EVALUATION_SHARE * len(val)
        if int(EVALUATIONS * progress) != milestone and enough:
            evaluate()
            save("last.pt", [model.parameters, average, model.optimizer.state_dict(), model.state])
            evaluated, milestone = steps, int(EVALUATIONS * progress)
    loss = evaluate()
    save("last.pt", [model.parameters, average, model.optimizer.state_dict(), model.state])
    return {"chars": steps * batch * length, "best_val_loss": loss}


if __name__ == "__main__":
    path, minutes, threads, hidden, batch, length, dropout, learning_rate = sys.argv[1:]
    torch.set_num_threads(int(threads))
    sizes = map(int, (hidden, batch, length))
    print(json.dumps(whole_run(path, float(minutes), *sizes, float(dropout), float(learning_rate))))
