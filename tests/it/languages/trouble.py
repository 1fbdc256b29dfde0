"""What can happen in a runbook, one thing for each value of `do`."""

import logging
import random
import time

from landfall import Effect, Failure, Runbook, absent, again, clock, config, guests, http, log, session, signing, skip
from landfall import random as host_random
from landfall import state, transport


class Trouble(Runbook):
    findings = {"odd": "Something is odd"}

    def effect(self, context):
        return Effect.keyed("trouble")

    def run(self, call, context, resume):
        return getattr(self, context.params["do"])(call, context, resume)

    def probe(self, call, context):
        return absent()

    def speak(self, call, context, resume):
        print("printed by python")
        logging.getLogger("x").warning("logged by python")
        log.debug("not shown")
        machine = context.machines[0]
        lots = [random.random() for _ in range(2)] != [random.random() for _ in range(2)]
        return {
            "kind": context.kind,
            "item": machine.item,
            "bytes": len(host_random.bytes(16)),
            "lots": lots,
            "draw": random.random(),
            "key": call.key != "",
        }

    def remember(self, call, context, resume):
        state.set("a/1", "one")
        swapped = [state.swap("a/1", "two", "three"), state.swap("a/1", "one", "deux"), state.swap("a/2", None, b"x")]
        session.set("login", "token", ttl_ms=60_000)
        return {
            "swapped": swapped,
            "keys": state.keys("a/"),
            "value": state.get_text("a/1"),
            "none": state.get("b"),
            "session": session.get_text("login"),
            "clock": clock.now_ms() > 1_700_000_000_000 and clock.monotonic_ms() <= clock.monotonic_ms(),
        }

    def wait(self, call, context, resume):
        if resume is None:
            return again(50, "é1", "half way")
        return {"resumed": resume.decode()}

    def needless(self, call, context, resume):
        return skip("nothing to do here")

    def refuse(self, call, context, resume):
        raise Failure.definite("refused", "python says no", details={"why": 7})

    def broken(self, call, context, resume):
        return {}["no such key"]

    def elsewhere(self, call, context, resume):
        return {"status": http.get("http://127.0.0.1:9/forbidden").status}

    def nobody(self, call, context, resume):
        # Granted, and nobody listens.
        return {"status": http.get(config.get("nobody")).status}

    def post(self, call, context, resume):
        answer = http.post(
            config.get("url"),
            headers={"Idempotency-Key": call.key},
            json={"job": call.job, "step": call.step, "action": context.action},
            timeout_ms=5_000,
        )
        try:
            answer.json()
        except http.Error as error:
            return {"status": answer.status, "type": answer.headers.get("content-type"), "error": error.kind}
        return {"status": answer.status, "type": answer.headers.get("content-type")}

    # What follows is tried by `landfall plugin test`, with the cases in `cases`.

    def talk(self, call, context, resume):
        began = clock.now_ms()
        port = context.params.get("port")
        line = transport.open("manager", port and int(port), context.params.get("tag", ""))
        greeting = ""
        if not line.warm:
            greeting = line.receive_line().decode()
            line.send("LOGIN\n")
            if line.receive_line() != b"ok":
                raise Failure.in_doubt("hung-up", "the manager did not say ok")
        line.send(f"GET {call.key}\n")
        answer = line.receive_line().decode()
        line.park()
        return {"warm": line.warm, "greeting": greeting, "answer": answer, "took": clock.now_ms() - began}

    def binary(self, call, context, resume):
        line = transport.open("manager")
        line.send(b"\x00\xff" * 5_000)
        answer = b""
        while more := line.receive():
            answer += more
        return {"answer": answer.hex()}

    def sign(self, call, context, resume):
        return {
            "signed": signing.hmac("key", "sha256", "what do ya want for nothing?").hex(),
            "derived": signing.hmac("key", "sha1", "a", b"b").hex(),
        }

    def whisper(self, call, context, resume):
        answer = http.post(config.get("url"), headers={"authorization": "Bearer {{secret:key}}"}, body="psst")
        return {"answer": answer.text()}

    def execute(self, call, context, resume):
        exit = guests.exec(
            context.params["item"], "target", "pg_ctl", "promote", environment={"PGDATA": "/data"}, input="yes"
        )
        return {
            "code": exit.code,
            "stdout": exit.stdout.decode(),
            "stderr": exit.stderr.decode(),
            "truncated": exit.truncated,
        }

    def keep(self, call, context, resume):
        cursor = int(state.get_text("cursor", "0"))
        state.set("cursor", str(cursor + 1))
        state.delete("old")
        return {"cursor": cursor}

    def login(self, call, context, resume):
        found = session.get_text("login", "none")
        session.set("login", "token", ttl_ms=60_000)
        return {"found": found}

    def hog(self, call, context, resume):
        kept = []
        while True:
            kept.append(bytearray(1 << 20))

    def nap(self, call, context, resume):
        began = time.time()
        time.sleep(float(context.params["seconds"]))
        return {"slept": round(time.time() - began)}

    def now(self, call, context, resume):
        return {"now": clock.now_ms()}
