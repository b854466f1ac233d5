"""What training and inference cost."""
