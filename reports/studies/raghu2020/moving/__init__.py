"""What moves in the inner loop, and whether it matters: similarity after every step, and weights against features."""
