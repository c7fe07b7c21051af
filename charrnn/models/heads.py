"""Output heads compute the outputs of a network, from the hidden states of the top layer or from n-grams of the input.

The outputs of a network are the weighted mean of its heads' outputs. The weight of a head is its share. The shares add
up to 1. In training each head has its own loss, weighted by its share, so no head relies on patterns that another one
has memorised. The losses are convex in the outputs, so the loss of the mean is at most the mean of the losses (Jensen's
inequality).

N rows (scored time steps), H hidden size, V outputs, K n-grams at one step.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from charrnn.models.architecture import Architecture
from charrnn.nn import ops
from charrnn.nn.arrays import Array

NamedArrays = dict[str, Array]


class Head(Protocol):
    """A head. `parameters` and `grads` are named views of all parameters and gradients of the network."""

    share: float
    names: tuple[str, ...]  # of its parameters

    def forward(self, parameters: NamedArrays, hidden: Array, ngrams: Array | None) -> Array:
        """hidden (N, H), ngrams (N, K) -> outputs (N, V)."""

    def backward(
        self,
        doutputs: Array,
        parameters: NamedArrays,
        grads: NamedArrays,
        hidden: Array,
        ngrams: Array | None,
        dhidden: Array,
    ) -> None:
        """doutputs (N, V). Adds the gradients of the head's parameters to `grads`. Writes the gradient of the hidden
        states to dhidden (N, H) if the head reads them."""


class LinearHead:
    """A linear layer on the hidden states (PyTorch's nn.Linear)."""

    names: tuple[str, ...] = ("head.weight", "head.bias")

    def __init__(self, share: float) -> None:
        self.share = share

    def forward(self, parameters: NamedArrays, hidden: Array, ngrams: Array | None) -> Array:
        return ops.linear_forward(hidden, parameters["head.weight"], parameters["head.bias"])

    def backward(
        self,
        doutputs: Array,
        parameters: NamedArrays,
        grads: NamedArrays,
        hidden: Array,
        ngrams: Array | None,
        dhidden: Array,
    ) -> None:
        weight = parameters["head.weight"]
        ops.linear_backward(doutputs, hidden, weight, grads["head.weight"], grads["head.bias"], dhidden)


class NgramHead:
    """Sums one row of weights for each n-gram of a step (PyTorch's nn.EmbeddingBag). N-gram 0 means "none".

    Such direct connections from input to output are described by Mikolov et al. 2011.
    """

    names: tuple[str, ...] = ("ngrams.weight",)

    def __init__(self, share: float) -> None:
        self.share = share

    def forward(self, parameters: NamedArrays, hidden: Array, ngrams: Array | None) -> Array:
        assert ngrams is not None
        return ops.embedding_bag_forward(parameters["ngrams.weight"], ngrams)

    def backward(
        self,
        doutputs: Array,
        parameters: NamedArrays,
        grads: NamedArrays,
        hidden: Array,
        ngrams: Array | None,
        dhidden: Array,
    ) -> None:
        assert ngrams is not None
        ops.embedding_bag_backward(doutputs, ngrams, grads["ngrams.weight"])


def make_heads(architecture: Architecture) -> list[Head]:
    """The heads of a network. Those that read the hidden states come first."""
    if not architecture.ngram_size:
        return [LinearHead(1.0)]
    return [LinearHead(1 - architecture.ngram_share), NgramHead(architecture.ngram_share)]


def mean_outputs(heads: list[Head], parameters: NamedArrays, hidden: Array, ngrams: Array | None) -> Array:
    """The weighted mean of the heads' outputs (N, V)."""
    outputs = [head.forward(parameters, hidden, ngrams) for head in heads]
    if len(heads) == 1:
        return outputs[0]
    mean: Array = np.add.reduce([head.share * output for head, output in zip(heads, outputs, strict=True)])
    return mean
