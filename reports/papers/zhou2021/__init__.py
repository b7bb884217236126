"""Zhou et al. 2021: do tasks fall into groups by their adapted parameters, and does an initialisation each help?"""
