"""Produces checkpoints: tasks, networks, the inner loop, algorithms, the outer loop."""
