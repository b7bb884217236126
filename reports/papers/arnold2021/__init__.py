"""Arnold et al. 2021: does depth, or an external optimiser, make MAML adapt?"""
