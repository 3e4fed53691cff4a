"""Many methods, proportions and seeds over one set of frozen features: the comparison, one row of results per run."""
