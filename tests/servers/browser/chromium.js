// A headless Chromium that reaches this machine alone. It comes from npm with the libraries it needs; where that build
// does not run, the Chrome of the machine is taken.
import { chromium } from "playwright-core";

const ownBuild = process.platform === "linux" && process.arch === "x64";
const args = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"];

export async function unpack() {
  if (!ownBuild) return undefined;
  const { default: bundled } = await import("@sparticuz/chromium");
  return bundled.executablePath();
}

export async function launch() {
  const executablePath = await unpack();
  return chromium.launch(executablePath === undefined ? { channel: "chrome", args } : { executablePath, args });
}
