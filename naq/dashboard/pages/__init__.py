"""What is shown as HTML, and how open pages stay current.

format      how times, numbers and states look
charts      the last hour as two pictures
pages       which address shows what
render      pages as HTML, whole or only their live parts
live        open pages, and who is told when something has changed
streams     the responses that carry changes and log lines
replies     all other HTTP responses
"""
