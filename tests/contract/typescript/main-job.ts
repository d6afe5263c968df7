// The main job, done by a front end: set up a company, let a CRM send one won deal, see the goal move and the pay follow.
//
// Environment: ATTAIN_GOALS_URL, ATTAIN_TRACKING_URL, ATTAIN_INCENTIVES_URL, ATTAIN_TOKEN of an admin,
// ATTAIN_APPROVER_TOKEN of another one in the same tenant and ATTAIN_SERVICE_TOKEN of a service in it, which lets goals
// count also once their quarter is over. Prints what came out of it as one JSON object.

import { createHmac, randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { paths as GoalsPaths } from "./generated/goals.ts";
import type { paths as IncentivesPaths } from "./generated/incentives.ts";
import type { components, paths as TrackingPaths } from "./generated/tracking.ts";

type DealEvent = components["schemas"]["DealEvent"];

const DEADLINE_SECONDS = 30;
const POLL_SECONDS = 0.05;

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

const asAdmin = { authorization: `Bearer ${setting("ATTAIN_TOKEN")}` };
const asApprover = { authorization: `Bearer ${setting("ATTAIN_APPROVER_TOKEN")}` };
const asService = { authorization: `Bearer ${setting("ATTAIN_SERVICE_TOKEN")}` };
const goals = createClient<GoalsPaths>({ baseUrl: setting("ATTAIN_GOALS_URL"), headers: asAdmin });
const tracking = createClient<TrackingPaths>({ baseUrl: setting("ATTAIN_TRACKING_URL"), headers: asAdmin });
const incentives = createClient<IncentivesPaths>({ baseUrl: setting("ATTAIN_INCENTIVES_URL"), headers: asAdmin });
const approver = createClient<IncentivesPaths>({ baseUrl: setting("ATTAIN_INCENTIVES_URL"), headers: asApprover });
const planner = createClient<GoalsPaths>({ baseUrl: setting("ATTAIN_GOALS_URL"), headers: asService });
const crm = createClient<TrackingPaths>({ baseUrl: setting("ATTAIN_TRACKING_URL") });

interface Outcome<Answer> {
  data?: Answer;
  error?: unknown;
  response: Response;
}

async function answered<Answer>(pending: Promise<Outcome<Answer>>): Promise<NonNullable<Answer>> {
  const { data, error, response } = await pending;
  if (data === undefined || data === null) {
    throw new Error(`${response.url} answered ${response.status}: ${JSON.stringify(error)}`);
  }
  return data;
}

async function eventually<Value>(what: string, look: () => Promise<Value | undefined>): Promise<Value> {
  const deadline = Date.now() + DEADLINE_SECONDS * 1000;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`${what} did not happen within ${DEADLINE_SECONDS} s`);
    await new Promise((resolve) => setTimeout(resolve, POLL_SECONDS * 1000));
  }
}

const once = () => ({ "idempotency-key": randomUUID() });
const madeFrom = (thing: { version: number }) => ({ "if-match": `"${thing.version}"` });

function signed(secret: string, body: string): Record<string, string> {
  const id = `msg_${randomUUID()}`;
  const timestamp = Math.floor(Date.now() / 1000).toString();
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const signature = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
  return { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": `v1,${signature}` };
}

// Who sells, in which team, and what has been promised.
const person = await answered(
  goals.POST("/v1/people", { params: { header: once() }, body: { name: "Darcel Schlecht" } }),
);
const team = await answered(goals.POST("/v1/teams", { params: { header: once() }, body: { name: "Central" } }));
await answered(
  goals.POST("/v1/memberships", { body: { person_id: person.id, team_id: team.id, start: "2026-01-01" } }),
);
const connection = await answered(
  tracking.POST("/v1/connections", {
    params: { header: once() },
    body: { source: "standard_webhooks", name: "Our CRM", identity_source: "crm" },
  }),
);
await answered(
  goals.POST("/v1/identities", {
    body: { source: connection.identity_source, external_user_id: "darcel", person_id: person.id },
  }),
);
const bookings = {
  aggregate: "sum",
  value_field: "amount",
  filter: { all: [{ field: "status", op: "eq", value: "won" }] },
  currency: "USD",
} as const;
const draft = await answered(
  goals.POST("/v1/goals", {
    params: { header: once() },
    body: {
      name: "Central's bookings, Q2",
      owner: { kind: "team", id: team.id },
      metric: bookings,
      target: "250000",
      period: { kind: "quarter", containing: "2026-05-15" },
    },
  }),
);
const goal = await answered(
  planner.POST("/v1/goals/{goal_id}/activate", {
    params: { path: { goal_id: draft.id }, header: { ...once(), ...madeFrom(draft) } },
  }),
);

// What it pays.
const plan = await answered(
  incentives.POST("/v1/plans", { body: { name: "Account executives", currency: "USD", period: "quarter" } }),
);
const version = await answered(
  incentives.POST("/v1/plans/{plan_id}/versions", {
    params: { path: { plan_id: plan.id } },
    body: {
      effective_from: "2026-04-01",
      components: [
        {
          kind: "commission",
          key: "bookings",
          name: "New business",
          measure: bookings,
          rate: {
            shape: "tiers",
            mode: "marginal",
            by: "amount",
            tiers: [
              { from: "0", rate: "0.05" },
              { from: "50000", rate: "0.1" },
            ],
          },
        },
      ],
    },
  }),
);
const named = { plan_id: plan.id, number: version.number };
const approved = await answered(
  approver.POST("/v1/plans/{plan_id}/versions/{number}/approve", {
    params: { path: named, header: madeFrom(version) },
  }),
);
const active = await answered(
  incentives.POST("/v1/plans/{plan_id}/versions/{number}/activate", {
    params: { path: named, header: madeFrom(approved) },
  }),
);
const proposed = await answered(
  incentives.POST("/v1/assignments", {
    params: { header: once() },
    body: { person_id: person.id, plan_id: plan.id, start: "2026-04-01" },
  }),
);
const assignment = await answered(
  approver.POST("/v1/assignments/{assignment_id}/approve", {
    params: { path: { assignment_id: proposed.id }, header: madeFrom(proposed) },
  }),
);

// Progress starts at zero, once the goal has reached the tracking service.
const current = async () => {
  const { data, response } = await tracking.GET("/v1/goals/{goal_id}/progress", {
    params: { path: { goal_id: goal.id } },
  });
  if (!response.ok && response.status !== 404) throw new Error(`progress answered ${response.status}`);
  return data;
};
const before = await eventually("the goal's arrival in tracking", current);

// One deal is won in the CRM.
const event: DealEvent = {
  type: "deal.upserted",
  data: {
    external_id: "D-1",
    modified_at: "2026-05-15T09:30:00Z",
    status: "won",
    owner_external_id: "darcel",
    name: "Acme renewal",
    amount: "60000.50",
    currency: "USD",
    closed_on: "2026-05-15",
  },
};
const { response: delivered } = await crm.POST("/hooks/{connection_id}", {
  params: { path: { connection_id: connection.id } },
  headers: signed(connection.secret, JSON.stringify(event)),
  body: event,
});
if (delivered.status !== 202) throw new Error(`the hook answered ${delivered.status}`);

const progress = await eventually("progress", async () => {
  const now = await current();
  return now !== undefined && now.value !== before.value ? now : undefined;
});
const explained = await answered(
  tracking.GET("/v1/goals/{goal_id}/progress/explain", { params: { path: { goal_id: goal.id } } }),
);

// And is paid for.
const period = { person_id: person.id, start: "2026-04-01", end: "2026-07-01" };
const earning = await eventually("the earning", async () => {
  const page = await answered(incentives.GET("/v1/earnings", { params: { query: period } }));
  return page.items.find((each) => each.credits > 0);
});
const statement = await answered(incentives.GET("/v1/statements", { params: { query: period } }));
const explanation = await answered(
  incentives.GET("/v1/earnings/{earning_id}/explain", { params: { path: { earning_id: earning.id } } }),
);
const deliveryId = explanation.lines[0]?.deal_version?.delivery_id;
if (deliveryId === undefined) throw new Error("the explanation names no delivery");
const delivery = await answered(
  tracking.GET("/v1/deliveries/{delivery_id}", { params: { path: { delivery_id: deliveryId } } }),
);

// A forged delivery and an old version are refused, with problems that are typed too.
const forged = await crm.POST("/hooks/{connection_id}", {
  params: { path: { connection_id: connection.id } },
  headers: { ...signed(connection.secret, "another body") },
  body: event,
});
const late = await goals.PATCH("/v1/people/{person_id}", {
  params: { path: { person_id: person.id }, header: madeFrom({ version: person.version + 1 }) },
  body: { active: false },
});

const amounts: Record<string, string> = {
  before: before.value,
  progress: progress.value,
  earned: earning.earned,
  statement: statement.totals[0]?.earned ?? "none",
  ledger: explanation.ledger_balance,
};
console.log(
  JSON.stringify({
    ...amounts,
    goalStatus: goal.status,
    planStatus: active.status,
    assignedPlan: assignment.plan_id === plan.id,
    countingDeals: explained.items.flatMap((item) =>
      item.record === "deal" ? [[item.external_id, item.value, item.day]] : [],
    ),
    deliveredBody: delivery.body,
    forgedCode: forged.error?.code,
    lateCode: late.error?.code,
  }),
);
