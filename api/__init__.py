"""How people and programs ask: the Starlette app, GraphQL, log-in, command line, operations."""
