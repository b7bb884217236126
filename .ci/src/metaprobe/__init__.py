"""What does a meta-learner reuse, and what does it relearn, when it adapts to a task?"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("metaprobe")
