// Loaded before ruv-swarm, whose caches and pools keep timers of their own: `ruv-swarm --version` would print and never
// end. Timers keep no process from ending; its standard input still does, as an MCP server.
const { setInterval } = globalThis;
globalThis.setInterval = (...args) => setInterval(...args).unref();
