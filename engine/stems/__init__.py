"""The set that is published: dry and wet files, names, manifest."""
