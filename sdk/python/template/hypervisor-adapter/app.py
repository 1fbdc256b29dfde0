"""A site behind a small web API, in the source role: its machines, their power, and shutting them down.

The API is that of `landfall lab`, with `url` as in `http://127.0.0.1:7400/sites/a`: put your platform's in its place.
What is not offered yet is refused; `get_features` must list exactly what is.
"""

from landfall import Effect, Failure, absent, config, done, failed, http, running, unknown
from landfall.adapter import (
    Adapter,
    Features,
    Machine,
    MachinePage,
    Network,
    Operation_Hold,
    Operation_Shutdown,
    Operation_Start,
    OwnedPage,
    Power,
    PowerAnswer,
    PreflightAnswer,
    facts,
)

# A call has 30 seconds: whoever does not answer in this time is down, and there is time left to say so.
PATIENCE_MS = 10_000


class MyAdapter(Adapter):
    def get_features(self, origin, direction):
        return Features(
            source=True,
            target=False,
            replication="autonomous",
            # The site drops a second request with the same key; say so only if yours does.
            operations=[facts(Effect.keyed(name)) for name in ("shutdown", "hold", "start")],
            app_consistent=False,
            planned_failover=True,
            direct_transfer=[],
            ext=[],
        )

    def health(self):
        get("health")
        return []

    def list_machines(self, cursor):
        page = get("machines" + (f"?cursor={http.encode(cursor)}" if cursor else ""))
        return MachinePage([machine(one) for one in page["machines"]], page.get("next"))

    def list_networks(self):
        return [Network(one["id"], one["name"], one["isolated"]) for one in get("networks")["networks"]]

    def preflight(self, item, peer, operation):
        return PreflightAnswer(findings=[], extra_steps=[])

    def submit(self, call, operation):
        wanted = operation.value
        if isinstance(operation, Operation_Shutdown):
            body = {"shutdown": {"machine": wanted.machine, "forced": wanted.forced}}
        elif isinstance(operation, Operation_Hold):
            body = {"hold": {"machine": wanted.machine, "held": wanted.held}}
        elif isinstance(operation, Operation_Start):
            body = {"start": {"machine": wanted.machine}}
        else:
            raise not_offered("this operation")
        who = {"key": call.key, "installation": call.installation, "epoch": call.epoch}
        return progress(post("operations", {**who, "job": call.job, "step": call.step, "operation": body}))

    def poll_many(self, handles, wait_ms):
        tasks = post("tasks/poll", {"handles": handles, "wait_ms": wait_ms})["tasks"]
        return [(task["handle"], progress(task)) for task in tasks]

    def probe(self, call, operation):
        task = get(f"operations/by-key/{http.encode(call.key)}")
        return absent() if task["state"] == "absent" else progress(task)

    def cancel(self, call, handle):
        return progress(post(f"tasks/{http.encode(handle)}/cancel", {}))

    def power_state(self, machine):
        answer = get(f"machines/{http.encode(machine)}/power")
        return PowerAnswer(power(answer["power"]), answer.get("autostart"), [("power", answer["power"])])

    def prove_isolation(self, network):
        raise not_offered("a proof of isolation")

    def changes(self, machine, since, mark, cursor):
        raise not_offered("the driven replication")

    def read(self, machine, mark, extent, buffer):
        raise not_offered("the driven replication")

    def write(self, call, replica, mark, offset, buffer):
        raise not_offered("the target role")

    def list_points(self, replica):
        raise not_offered("the target role")

    def list_owned(self, installation, cursor):
        return OwnedPage(owned=[], next=None)


def not_offered(what):
    return Failure.definite("not-offered", f"this adapter does not offer {what}")


def machine(listed):
    return Machine(
        id=listed["id"],
        name=listed["name"],
        origin=listed["origin"],
        os=None,
        power=power(listed["power"]),
        cpus=listed.get("cpus"),
        memory_bytes=listed.get("memory_bytes"),
        disks=[],
        nics=[],
        ext=[],
    )


def power(word):
    # What is not known is not off: nothing may be started beside it.
    return {"on": Power.ON, "off": Power.OFF}.get(word, Power.UNKNOWN)


def progress(task):
    if task["state"] == "running":
        return running(task["handle"], poll_after_ms=500)
    if task["state"] == "done":
        return done()
    if task.get("failure"):
        return failed(trouble(task["failure"]))
    return unknown(f"the site says `{task['state']}`")


def get(path):
    return exchange("GET", path)


def post(path, body):
    return exchange("POST", path, json=body)


def exchange(method, path, **options):
    url = config.get("url")
    if url is None:
        raise Failure.definite("not-configured", "no `url` is configured: name the site's address")
    answer = http.request(method, f"{url.rstrip('/')}/{path}", timeout_ms=PATIENCE_MS, **options)
    if answer.status < 400:
        return answer.json()
    try:
        raise trouble(answer.json())
    except (http.Error, KeyError, TypeError):
        # The site says whether anything happened; where it says nothing, it is in doubt.
        raise Failure.in_doubt("server-error", f"the site answered {answer.status}") from None


def trouble(told):
    say = Failure.definite if told.get("definite") else Failure.in_doubt
    return say(told["code"], told["message"], retryable=bool(told.get("retryable")))
