"""Reports of benchmark runs, made from their JSON and CSV files: Markdown, HTML, and changes between two runs."""
