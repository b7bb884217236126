"""Tables in, pages out: the studies' reports, their figures and their tables."""
