"""Optional compression before export: factorise, prune, cluster, and quantisation-aware training."""
