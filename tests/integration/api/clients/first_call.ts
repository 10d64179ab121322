// README's first call through the types that openapi-typescript made: BASE_URL TOKEN REPO_URL.
import createClient from "openapi-fetch";
import type { components, paths } from "./relay.d.ts";

declare const process: { argv: string[] };
const [, , baseUrl = "", token = "", url = ""] = process.argv;

const relay = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const sent: components["schemas"]["RunIn"] = {
  repos: [{ url, setup_script: "python3 --version" }],
  prompt: "Count the files",
  executor: { name: "shell", command: "git ls-files | wc -l > COUNT; echo counted" },
};
const made = await relay.POST("/v1/runs", { body: sent });
if (made.error) throw new Error(made.error.detail);
const found = await relay.GET("/v1/runs/{run_id}", { params: { path: { run_id: made.data.run_id } } });
if (found.error) throw new Error(found.error.detail);
const status: "queued" | "running" | "completed" = found.data.status;
if (status !== "queued") throw new Error(status);
const missing = await relay.GET("/v1/runs/{run_id}", {
  params: { path: { run_id: "00000000-0000-4000-8000-000000000000" } },
});
console.log(JSON.stringify({ sent, run: found.data, missing: missing.error?.code }));

// @ts-expect-error: a run without a prompt does not compile
void (() => relay.POST("/v1/runs", { body: { repos: [{ url }] } }));
