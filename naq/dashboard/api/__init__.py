"""Everything the pages show and do, as JSON under ``/api/``.

parameters  queries and bodies, as types that check them
operations  what can be asked for, by path and method
openapi     the document that describes it, made from those types
"""
