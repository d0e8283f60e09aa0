"""Everything that touches Redis or Valkey: keys, connections, scripts and the embedded server."""
