"""`thaw run`: the pipeline on this machine."""
