"""Log bytes: appended under fence and offset, compacted, read in any range."""
