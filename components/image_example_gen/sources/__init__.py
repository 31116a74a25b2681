"""Where images come from: one file a kind of source, each of which yields `Entry`s."""
