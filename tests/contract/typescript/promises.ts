// What a client may rely on, as statements the compiler checks. Each expected error is one that must stay an error.

import type { components as Goals } from "./generated/goals.ts";
import type { components as Incentives } from "./generated/incentives.ts";
import type { components as Tracking } from "./generated/tracking.ts";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

export const moneyIsAString: [
  Same<Goals["schemas"]["GoalAnswer"]["target"], string>,
  Same<Tracking["schemas"]["GoalProgress"]["value"], string>,
  Same<Tracking["schemas"]["GoalProgress"]["attainment"], string | null>,
  Same<Incentives["schemas"]["EarningAnswer"]["earned"], string>,
  Same<Incentives["schemas"]["EntryAnswer"]["amount"], string>,
] = [true, true, true, true, true];

export const statesAreKnown: [
  Same<Goals["schemas"]["GoalAnswer"]["status"], "draft" | "active" | "closed" | "cancelled">,
  Same<Incentives["schemas"]["PlanVersionAnswer"]["status"], "draft" | "approved" | "active">,
] = [true, true];

export const problemsAreTheSameEverywhere: [
  Same<Goals["schemas"]["Problem"], Tracking["schemas"]["Problem"]>,
  Same<Goals["schemas"]["Problem"], Incentives["schemas"]["Problem"]>,
] = [true, true];

// @ts-expect-error A number would be rounded on its way.
export const numberAsMoney: Goals["schemas"]["GoalChanges"] = { target: 250000 };

// @ts-expect-error A revision says why.
export const revisionWithoutReason: Goals["schemas"]["RevisionBody"] = { target: "250000" };

// @ts-expect-error There is no such source.
export const unknownSource: Tracking["schemas"]["ConnectionBody"] = { name: "Elsewhere", source: "elsewhere" };

// @ts-expect-error A flat rate has no tiers.
export const flatWithTiers: Incentives["schemas"]["FlatRateContent"] = { shape: "flat", rate: "0.05", tiers: [] };
