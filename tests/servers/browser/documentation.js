// Read documentation pages as a newcomer does, and try an operation of each without a token and with one.
// Arguments: a token, then for each page its address and the id of a GET operation without required parameters.
// Prints what was seen of each page as JSON.
import { launch } from "./chromium.js";

const [token, ...pages] = process.argv.slice(2);
const browser = await launch();
const context = await browser.newContext({ reducedMotion: "reduce" });
await context.addInitScript(() => {
  addEventListener("securitypolicyviolation", (event) =>
    console.error(`violates ${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`),
  );
});

async function read(address, operation) {
  const seen = { requests: [], complaints: [], operations: [], statuses: [], body: "" };
  const page = await context.newPage();
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.complaints.push(message.text());
  });
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  await page.goto(address);
  await page.locator(".opblock").first().waitFor();
  seen.operations = await page.locator(".opblock").evaluateAll((blocks) => blocks.map((block) => block.id));
  const tried = page.locator(`.opblock[id$="-${operation}"]`);

  async function execute() {
    const answered = page.waitForResponse((response) => new URL(response.url()).pathname.startsWith("/v1/"));
    await tried.getByRole("button", { name: "Execute" }).click();
    const status = (await answered).status();
    await tried.locator(".live-responses-table .response-col_status").getByText(String(status)).waitFor();
    seen.statuses.push(status);
    seen.body = await tried.locator(".live-responses-table .response-col_description code").first().innerText();
  }

  await tried.locator(".opblock-summary-control").click();
  await tried.getByRole("button", { name: "Try it out" }).click();
  await execute();
  await page.locator(".auth-wrapper > .btn.authorize").click();
  await page.locator(".auth-container input").fill(token);
  await page.locator(".auth-btn-wrapper .authorize").click();
  await page.locator(".auth-btn-wrapper .btn-done").click();
  await execute();
  await page.close();
  return seen;
}

const all = [];
for (let at = 0; at < pages.length; at += 2) all.push(await read(pages[at], pages[at + 1]));
await browser.close();
console.log(JSON.stringify(all));
