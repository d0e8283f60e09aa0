"""`taskq demo`: real work from nothing, with one child killed in the middle of it, and the account afterwards."""
