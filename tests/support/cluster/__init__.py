"""Three nats-servers on loopback that form a cluster, for tests that harm it and tests that do not.

* ``fixtures`` — what tests use: the fixture ``cluster``, and the marker ``cluster``
* ``nodes`` — :class:`~cluster.nodes.Cluster`: settings, who leads what, being whole again
* ``node`` — :class:`~cluster.node.Node`: start, kill, freeze, lame duck
* ``routes`` — the links between the nodes, which run through a process that cuts and freezes them

Two ways to use it.

**A test that is about jobs**, and should hold on a cluster as it does on one server, is marked::

    @pytest.mark.cluster
    async def test_something(queue, run_worker): ...

It runs once more for asyncio and once more for Trio, with ``settings``, ``connection``, ``queue``
and ``run_worker`` on the cluster, where streams have three replicas. Nothing in it may depend on
which node it is connected to. (A whole file: ``pytestmark = pytest.mark.cluster``.)

**A test that is about the cluster** takes the fixture ``cluster`` and says where it connects to::

    async def test_a_leader_dies(cluster, anyio_backend):
        async with connect(settings=cluster.settings()) as connection, Queue(...) as queue:
            leader = await cluster.leader(connection.names.jobs_stream)
            leader.kill()
            await queue.enqueue(add, 1, 2)  # goes on once another one leads

The servers start with the first test that needs them, and stay until the session ends; with
pytest-xdist each worker process has its own. After each test that took ``cluster`` whatever it
killed, froze or cut is whole again before the next one begins. What such a test has stored is told
apart by the prefix in its settings, and deleted if the test used :meth:`Cluster.settings`.
"""
