"""The room that talks to Redis: one multiplexed connection, scripts, key names, and what is kept under them."""
