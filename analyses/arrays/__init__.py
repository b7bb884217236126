"""Similarity of activations that lie in arrays: files of layers, opened without being read, and their comparison."""

from metaprobe.analyses.arrays.array import Array, ArrayFile
from metaprobe.analyses.arrays.files import open_arrays
from metaprobe.analyses.arrays.similarity import similarity_of_arrays

__all__ = ["Array", "ArrayFile", "open_arrays", "similarity_of_arrays"]
