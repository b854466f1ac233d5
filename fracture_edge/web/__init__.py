"""The page: the classifier in a browser, as one HTML file that works offline."""
