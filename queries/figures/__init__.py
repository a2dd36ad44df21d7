"""The figures by name: a module each, with `draw`, which reads from the views and returns a `Drawing`.

What they share: `reading`, `choice`, `comparisons` and `shading` read; `captions` says what is shown; `style` and
`layout` are how it looks, and may not know a database.
"""
