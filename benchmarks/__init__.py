"""Measurements of taskq beside its peers and beside the raw loop: run with `make bench`."""
