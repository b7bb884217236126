"""Pages: their parts, their HTML and LaTeX, and the files that stand beside them."""
