"""How vectors and their texts are encoded."""

from __future__ import annotations

from charrnn.tasks.encoder_decoder.matrices import MatrixCoding


class CaptionCoding(MatrixCoding):
    """Encodes vectors as matrices of one row, so that the encoder reads one step."""

    name = "caption"
