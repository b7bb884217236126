"""Six ways to train a body, and two heads on each at test time: claims R7, R8 and R12."""
