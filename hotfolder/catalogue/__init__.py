"""Thousands of titles: lists, batches, reports, clusters, audits."""
