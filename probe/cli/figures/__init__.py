"""What the commands draw of their tables with `--figure`: the blocks of pages, filled with rows."""
