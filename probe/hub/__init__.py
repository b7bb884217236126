"""Checkpoints on the Hugging Face Hub, or in a folder with the same files: weights, and a card of what they are."""

from metaprobe.probe.hub.moving import pull, push

__all__ = ["pull", "push"]
