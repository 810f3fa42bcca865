"""A set of stems as one page to listen to: opened from the disk, without server or network."""
