"""How matrices and their texts are encoded."""

from __future__ import annotations

from dataclasses import replace

from charrnn.tasks.encoder_decoder.matrices import MatrixCoding


class TranscriptCoding(MatrixCoding):
    """Encodes matrices of any number of rows."""

    name = "transcribe"
    defaults = replace(MatrixCoding.defaults, cell="lstm")  # LSTM layers find repeated words better than GRU layers
