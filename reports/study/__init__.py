"""What all studies share: declarations, options, steps, and how they are run."""
