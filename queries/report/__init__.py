"""One page about one corpus: figures, tables, where they come from, and the SQL behind each.

`contents` decides what is on it and reads it; `page` and `markup` make it HTML and may not know a database.
"""
