"""Speed of training and inference."""
