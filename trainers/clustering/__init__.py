"""Clusters of tasks by their adapted parameters, each with an initialisation of its own (TSA-MAML)."""
