"""How records move: change feed, pull, push, three-way merge, conflicts. The one write path."""
