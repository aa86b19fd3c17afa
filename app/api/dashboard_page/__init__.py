"""The page of ``/dashboard``: its parts as files, put together once into one document that needs nothing else.

Plain HTML, CSS and JavaScript without a build step. The scripts share one scope, in the order of ``assembly.SCRIPTS``.
"""
