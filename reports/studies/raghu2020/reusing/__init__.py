"""Freezing in every regime, and the reuse index: how much of a learner's gain its body holds without adapting."""
