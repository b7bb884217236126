"""File formats as bytes and text, read defensively. No torch."""
