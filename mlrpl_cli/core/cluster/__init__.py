"""Ray, for what is done on many machines.

In: the address of a cluster, or none for one of this machine's own. Out: a connection that ends with the work.
"""
