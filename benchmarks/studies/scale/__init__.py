"""Studies of many images: cores, shards, clusters."""
