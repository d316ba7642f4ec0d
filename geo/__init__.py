"""Where records are: administrative areas, datums, scope, coverage, tiles."""
