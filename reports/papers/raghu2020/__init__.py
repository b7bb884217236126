"""Raghu et al. 2020: rapid learning or feature reuse?"""
