"""Classification of an archive by a cluster of machines, with Ray Data."""
