"""Tables and figures of a page, declared as the quantities that they show, and drawn."""
