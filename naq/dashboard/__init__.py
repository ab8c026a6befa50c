"""What a person looks at: pages, live, over everything naq knows.

From the inside out::

    model  arguments      values; what may be shown of a payload
    queries  services     what is asked of the server, and of the supervisor
    link                  the connection, for as long as there is one
    state  rows           what all requests share; what is stored as what is shown
    shown  charts         how values and the last hour look
    metrics               everything in numbers, for collectors
    live  streams         who is told when something has changed, and how
    auth                  who may
    pages  actions        what is shown and done; render makes HTML of it
    api  parameters       the same as JSON; openapi describes it
    replies               answers as HTTP has them
    app                   all of it as one QuartTrio application
    serve                 that application on a socket: Dashboard
"""
