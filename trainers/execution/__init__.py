"""Doing steps side by side: in processes of this machine, on workers of dask, as jobs of SLURM."""
