// The same no-op for bullmq. `node peer_bullmq.mjs fill N` queues N calls; `node peer_bullmq.mjs work C` works them off
// with a concurrency of C. BENCH_URL is the server, BENCH_LEDGER the ledger (benchmarks/ledger.py), BENCH_MODULES the
// folder in which bullmq is installed.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.BENCH_MODULES, "index.js"));
const { Queue, Worker } = require("bullmq");

const HEAD_BYTES = 64, SLOT_BYTES = 16, BULK = 1000, NAME = "drain";
const url = new URL(process.env.BENCH_URL);
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
const kept = { removeOnComplete: true, removeOnFail: true };

async function fill(count) {
  const queue = new Queue(NAME, { connection });
  for (let start = 0; start < count; start += BULK) {
    const slots = Array.from({ length: Math.min(BULK, count - start) }, (_, at) => start + at);
    await queue.addBulk(slots.map((slot) => ({ name: "noop", data: { slot }, opts: kept })));
  }
  await queue.close();
}

function work(concurrency) {
  const ledger = fs.openSync(process.env.BENCH_LEDGER, "r+");
  const entry = Buffer.alloc(SLOT_BYTES), started = new Map();
  const mark = (slot) => {
    const times = (started.get(slot) ?? 0) + 1;
    started.set(slot, times);
    entry.writeDoubleLE(Number(process.hrtime.bigint()) / 1e9, 0); // the clock of Python's time.monotonic()
    entry.writeBigUInt64LE(BigInt(times), 8);
    fs.writeSync(ledger, entry, 0, SLOT_BYTES, HEAD_BYTES + SLOT_BYTES * slot);
  };
  const worker = new Worker(NAME, async (job) => mark(job.data.slot), { connection, concurrency, ...kept });
  worker.on("error", (error) => console.error(String(error)));
  process.once("SIGTERM", async () => {
    await worker.close();
    process.exit(0);
  });
}

const [what, number] = process.argv.slice(2);
if (what === "fill") await fill(Number(number));
else work(Number(number));
