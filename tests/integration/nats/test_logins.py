"""The table of logins in docs/operations/logins.md: each way to log in, against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import nkeys
import pytest
from depth import depth
from logins import certificates, key, operator, served, tls

import naq
from examples.tasks import add
from naq.exceptions import ConfigurationError, NaqConnectionError
from naq.settings import Settings

SECRET = "s3cret/p@ss"
ENCODED = "s3cret%2Fp%40ss"
PAGE = Path(__file__).parents[3] / "docs" / "operations" / "logins.md"


def of_token(home):
    config = f'authorization {{ token: "{SECRET}" }}\n'
    return config, {"NATS_TOKEN": SECRET}, {"token": SECRET}, f"nats://{ENCODED}@{{}}"


def of_user(home):
    config = f'authorization {{ user: "me", password: "{SECRET}" }}\n'
    login = {"user": "me", "password": SECRET}
    env = {"NATS_USER": "me", "NATS_PASSWORD": SECRET}
    return config, env, login, f"nats://me:{ENCODED}@{{}}"


def of_nkey(home):
    _, public, seed = key(nkeys.PREFIX_BYTE_USER)
    file = home / "user.nk"
    file.write_text(seed)
    config = f"authorization {{ users = [ {{ nkey: {public} }} ] }}\n"
    return config, {"NATS_NKEY_SEED_FILE": str(file)}, {"nkey": str(file)}, None


def of_creds(home):
    config, file = operator(home)
    return config, {"NATS_CREDS": str(file)}, {"creds": str(file)}, None


def of_tls(home):
    certificates(home)
    ca = str(home / "ca.pem")
    return tls(home), {"NATS_TLS_CA": ca}, {"ca": ca}, None


def of_certificate(home):
    certificates(home)
    names = {
        one: str(home / file)
        for one, file in (("ca", "ca.pem"), ("cert", "client.pem"), ("key", "client.key"))
    }
    config = tls(home, f'ca_file: "{home}/ca.pem"', "verify: true")
    return config, {f"NATS_TLS_{k.upper()}": v for k, v in names.items()}, names, None


def of_handshake_first(home):
    certificates(home)
    ca = str(home / "ca.pem")
    config = tls(home, "handshake_first: true")
    env = {"NATS_TLS_CA": ca, "NATS_TLS_FIRST": "true"}
    return config, env, {"ca": ca, "tls_first": True}, None


WAYS = [of_token, of_user, of_nkey, of_creds, of_tls, of_certificate, of_handshake_first]


async def works(settings=None, **how):
    async with naq.connect(settings=settings, **how) as connection:
        async with naq.Queue("default", connection=connection) as queue:
            await queue.enqueue(add, 1, 2)
        return connection.url


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request, tmp_path):
    config, env, context, url = request.param(tmp_path)
    with served(tmp_path, config) as port:
        yield f"127.0.0.1:{port}", env, context, url


def settings_of(env):
    return Settings.from_env({f"NAQ_{name}": value for name, value in env.items()})


async def test_each_way_to_log_in(way, tmp_path):
    """By the environment, by a context of the nats command, by the url where that can hold it."""
    place, env, context, url = way
    scheme = "tls" if "ca" in context else "nats"
    file = tmp_path / "context.json"
    file.write_text(json.dumps({"url": f"{scheme}://{place}", **context}))

    urls = [
        await works(settings_of({**env, "NATS_URL": f"{scheme}://{place}"})),
        await works(settings_of({"NATS_CONTEXT": str(file)})),
    ]
    if url is not None:
        urls.append(await works(nats_url=url.format(place)))
    assert set(urls) == {f"{scheme}://{place}"}


async def test_without_it_there_is_one_clear_line(way):
    place, _, context, _ = way
    scheme = "tls" if "ca" in context else "nats"
    with pytest.raises(NaqConnectionError) as caught:
        await works(settings_of({"NATS_URL": f"{scheme}://{place}"}))
    assert "\n" not in str(caught.value)
    assert place in str(caught.value)


@pytest.mark.parametrize("more", [{"nsc": "nsc://x"}, {"socks_proxy": "x"}, {"creds": "/no/file"}])
async def test_a_context_that_cannot_be_followed_is_refused(tmp_path, more):
    file = tmp_path / "context.json"
    file.write_text(json.dumps({"url": "nats://127.0.0.1:9", **more}))
    with pytest.raises(ConfigurationError, match=r"context\.json|no file"):
        await works(settings_of({"NATS_CONTEXT": str(file)}))


def test_the_page_names_each_setting(tmp_path):
    text = PAGE.read_text()
    for one in WAYS:
        home = tmp_path / one.__name__
        home.mkdir()
        _, env, context, _ = one(home)
        assert all(f"`NAQ_{name}`" in text for name in env)
        assert all(f"`{name}`" in text for name in context)


async def test_the_login_of_one_url_is_used_for_the_servers_a_cluster_tells_of(cluster):
    seed, *_ = cluster.nodes
    async with naq.connect(settings=cluster.settings(seed)) as connection:
        async with naq.Queue("default", connection=connection) as queue:
            await queue.enqueue(add, 1, 2)
            seed.kill()
            await queue.enqueue(add, 3, 4)  # at another one
            assert await depth(queue, 2) == 2
        assert "@" not in connection.url
