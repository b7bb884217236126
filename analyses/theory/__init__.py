"""Models small enough to be followed with pencil and paper, on which depth makes MAML adapt (Arnold et al. 2021)."""
