"""Makers of pages: each module's `pages` returns the Markdown of some, by their names without ".md"."""
