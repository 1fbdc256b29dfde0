// A site behind a small web API, in the source role: its machines, their power, and shutting them down.
//
// The API is that of `landfall lab`, with `url` as in `http://127.0.0.1:7400/sites/a`: put your platform's in its place.
// What is not offered yet is refused; `getFeatures` must list exactly what is. Numbers of 64 bits are BigInt, as in the
// contract.

import { Effect, Failure, absent, config, done, failed, running, unknown } from "landfall";
import { facts } from "landfall/adapter";
import * as http from "landfall/http";

/** A call has 30 seconds: whoever does not answer in this time is down, and there is time left to say so. */
const PATIENCE_MS = 10_000;

export default {
  getFeatures: () => ({
    source: true,
    target: false,
    replication: "autonomous",
    // The site drops a second request with the same key; say so only if yours does.
    operations: ["shutdown", "hold", "start"].map((name) => facts(Effect.keyed(name))),
    appConsistent: false,
    plannedFailover: true,
    directTransfer: [],
    ext: [],
  }),

  health() {
    get("health");
    return [];
  },

  listMachines(cursor) {
    const page = get(cursor ? `machines?cursor=${encodeURIComponent(cursor)}` : "machines");
    return { machines: page.machines.map(machine), next: page.next ?? undefined };
  },

  listNetworks: () => get("networks").networks.map(({ id, name, isolated }) => ({ id, name, isolated })),

  preflight: () => ({ findings: [], extraSteps: [] }),

  submit(call, { tag, val }) {
    const bodies = {
      shutdown: () => ({ shutdown: { machine: val.machine, forced: val.forced } }),
      hold: () => ({ hold: { machine: val.machine, held: val.held } }),
      start: () => ({ start: { machine: val.machine } }),
    };
    if (!(tag in bodies)) throw notOffered("this operation");
    const { key, installation, epoch, job, step } = call;
    return progress(post("operations", { key, installation, epoch, job, step, operation: bodies[tag]() }));
  },

  pollMany(handles, waitMs) {
    const { tasks } = post("tasks/poll", { handles, wait_ms: waitMs });
    return tasks.map((task) => [task.handle, progress(task)]);
  },

  probe(call) {
    const task = get(`operations/by-key/${encodeURIComponent(call.key)}`);
    return task.state === "absent" ? absent() : progress(task);
  },

  cancel: (call, handle) => progress(post(`tasks/${encodeURIComponent(handle)}/cancel`, {})),

  powerState(machine) {
    const answer = get(`machines/${encodeURIComponent(machine)}/power`);
    const autostart = answer.autostart ?? undefined;
    return { power: power(answer.power), autostart, evidence: [["power", answer.power]] };
  },

  proveIsolation() {
    throw notOffered("a proof of isolation");
  },

  changes() {
    throw notOffered("the driven replication");
  },

  read() {
    throw notOffered("the driven replication");
  },

  write() {
    throw notOffered("the target role");
  },

  listPoints() {
    throw notOffered("the target role");
  },

  listOwned: () => ({ owned: [], next: undefined }),
};

const notOffered = (what) => Failure.definite("not-offered", `this adapter does not offer ${what}`);

const machine = (listed) => ({
  id: listed.id,
  name: listed.name,
  origin: listed.origin,
  os: undefined,
  power: power(listed.power),
  cpus: listed.cpus ?? undefined,
  memoryBytes: listed.memory_bytes == null ? undefined : BigInt(listed.memory_bytes),
  disks: [],
  nics: [],
  ext: [],
});

// What is not known is not off: nothing may be started beside it.
const power = (word) => (word === "on" || word === "off" ? word : "unknown");

function progress(task) {
  if (task.state === "running") return running(task.handle, "", { pollAfterMs: 500 });
  if (task.state === "done") return done();
  if (task.failure) return failed(trouble(task.failure));
  return unknown(`the site says \`${task.state}\``);
}

const get = (path) => exchange("GET", path);
const post = (path, json) => exchange("POST", path, { json });

function exchange(method, path, options) {
  const url = config.get("url");
  if (!url) throw Failure.definite("not-configured", "no `url` is configured: name the site's address");
  const answer = http.request(method, `${url.replace(/\/+$/, "")}/${path}`, { ...options, timeoutMs: PATIENCE_MS });
  if (answer.status < 400) return answer.json();
  let told;
  try {
    told = answer.json();
  } catch {
    told = undefined;
  }
  // The site says whether anything happened; where it says nothing, it is in doubt.
  throw told?.code ? trouble(told) : Failure.inDoubt("server-error", `the site answered ${answer.status}`);
}

const trouble = ({ code, message, retryable = false, definite = false }) =>
  definite ? Failure.definite(code, message, { retryable }) : Failure.inDoubt(code, message, { retryable });
