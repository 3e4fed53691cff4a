"""Everything mlrpl knows and does, usable as a library: it never imports the command line."""
