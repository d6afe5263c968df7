import { unpack } from "./chromium.js";

await unpack();
