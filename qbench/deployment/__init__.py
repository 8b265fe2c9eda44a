"""The deployed network: integer codes and codebooks, written, read and evaluated."""
