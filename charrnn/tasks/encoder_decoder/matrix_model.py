"""The common part of trained models whose sources are matrices of numbers."""

from __future__ import annotations

import numpy as np

from charrnn.nn.arrays import Array
from charrnn.nn.parameters import named_views
from charrnn.tasks.base import TrainedModel
from charrnn.tasks.encoder_decoder.matrices import MatrixCoding
from charrnn.tasks.encoder_decoder.model import SourceModel


class MatrixModel(SourceModel):
    """Predicts a target text for a matrix."""

    coding: MatrixCoding

    def parameters_for(self, first: TrainedModel) -> Array | None:
        """See TrainedModel. The two models may differ in the means and standard deviations of the columns, which depend
        on the seed of the run.

        The other model standardises a value v to x = (v - m) / s, this model to y = (v - mean) / std. Therefore
        y = x s / std + (m - mean) / std. The first layer of the encoder takes over this conversion. (Only the rows that
        `encode_source` adds to the last step differ slightly: their values are the means m of the other model.)
        """
        if self.checkpoint.task | {"scale": None} != first.checkpoint.task | {"scale": None}:
            return None
        assert isinstance(first, MatrixModel)
        scale = self.coding.scale
        other = first.coding.scale
        joined = self.coding.subsample
        factors = np.tile(other.std / scale.std, joined)
        offsets = np.tile((other.mean - scale.mean) / scale.std, joined)
        parameters = self.parameters.copy()
        named = named_views(self.architecture.specs(), parameters)
        for suffix in ("", "_reverse"):
            weight = named[f"encoder.weight_ih_l0{suffix}"]
            named[f"encoder.bias_ih_l0{suffix}"] += weight @ offsets
            weight *= factors
        return parameters
