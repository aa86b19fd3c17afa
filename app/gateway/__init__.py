"""The corridor: the order of a request's steps, nothing else."""
