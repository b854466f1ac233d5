"""Reports of a benchmark run, made from its JSON and CSV alone: Markdown, a page, and what changed between two."""
