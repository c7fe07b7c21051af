"""The child process of a sweep: how its parent controls it."""

import signal

from charrnn.sweep import child


class FakeTrainer:
    """Records what it is asked to do."""

    def __init__(self):
        self.requests = []

    def interrupt(self, number):
        self.requests.append(number)

    def request_save(self):
        self.requests.append("save")


def test_a_line_asks_for_a_save_and_the_end_of_the_input_for_the_end(monkeypatch):
    received = iter([b"\n", b"\n", b""])
    monkeypatch.setattr(child.os, "read", lambda descriptor, size: next(received))
    trainer = FakeTrainer()
    child._obey_parent(trainer)
    assert trainer.requests == ["save", "save", signal.SIGTERM]
