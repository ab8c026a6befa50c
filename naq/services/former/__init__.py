"""Modules by the names they had in the first release; what imports them so goes on working.

This folder is on the path of the package ``naq``: ``naq.server`` is found here. None of naq's own
modules imports from here. What is public stands in ``naq`` itself.

* ``connection``, ``deadletters``, ``job``, ``presence``, ``results``, ``scheduler``,
  ``serializers``, ``server``
"""
