"""The same application in five frameworks, as their users write it: each request enqueues a job."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import naq


@naq.task(queue="mail")
def send(number):
    return number


@asynccontextmanager
async def _lifespan(_app):
    async with naq.connect():
        yield


def fastapi():
    """Its lifespan holds a connection; its requests are other tasks."""
    from fastapi import FastAPI

    app = FastAPI(lifespan=_lifespan)

    @app.get("/send")
    async def request() -> str:
        return (await send.enqueue(1)).id

    return app


def bare_fastapi():
    """No lifespan: the first request opens the connection of the event loop."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/send")
    async def request() -> str:
        return (await send.enqueue(1)).id

    @app.get("/threaded")
    def threaded() -> str:
        return send.enqueue_sync(1).id

    return app


def quart():
    from quart import Quart

    app = Quart(__name__)

    @app.while_serving
    async def connected():  # noqa: ASYNC900 - Quart runs it to its end
        async with naq.connect():
            yield  # noqa: ASYNC119

    @app.get("/send")
    async def request():
        return (await send.enqueue(1)).id

    return app


def flask():
    from flask import Flask

    app = Flask(__name__)

    @app.get("/send")
    def request():
        return send.enqueue_sync(1).id

    return app


def django():
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    def request(_request):
        return HttpResponse(send.enqueue_sync(1).id)

    settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF=(path("send", request),), SECRET_KEY="of a test"
    )
    return get_wsgi_application()


def preloaded():
    """What ``gunicorn --preload`` imports: it has used naq before there are workers."""
    application = {"flask": flask, "django": django}[os.environ["WEB_FRAMEWORK"]]()
    send.enqueue_sync(0)
    return application
