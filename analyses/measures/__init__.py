"""Similarity measures: one file a family, a registry, and what they read."""
