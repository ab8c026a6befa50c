"""What a person looks at: pages, always current, over everything naq knows.

From the inside out::

    data/       what there is to show, asked of the server and of the supervisor
    auth        who may look, and who may act
    state       what all requests share
    actions     what may be done
    pages/      what is shown as HTML, and how open pages stay current
    api/        the same as JSON
    app         all of it as one QuartTrio application
    serve       that application on a socket: Dashboard
    templates/  static/    the HTML of pages; their style and scripts
"""
