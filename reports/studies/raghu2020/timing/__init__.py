"""How long training and adaptation take: claim R11."""
