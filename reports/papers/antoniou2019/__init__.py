"""Antoniou et al. 2019: what do the parts of MAML++ give, and do learned rates decide what is reused?"""
