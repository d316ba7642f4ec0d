"""The GraphQL face: types, queries and mutations derived from the declarations, and the executor that passes JSON through."""
