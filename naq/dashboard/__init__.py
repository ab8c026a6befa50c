"""What a person looks at: pages, live, over everything naq knows.

From the inside out::

    model  arguments      values; what may be shown of a payload
    queries  services     what is asked of the server, and of the supervisor
    link                  the connection, for as long as there is one
    metrics               everything in numbers, for collectors
    live                  who is told when something has changed
    auth                  who may
    pages  actions        what is shown and done; render makes HTML of it
    api  parameters       the same as JSON; openapi describes it
    replies               answers as HTTP has them
    app                   all of it as one QuartTrio application
    serve                 that application on a socket: Dashboard
"""
