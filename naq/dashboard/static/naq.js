// What JavaScript adds to the pages.

import "./cards.js";
import "./confirm.js";
import "./choose.js";
import "./keys.js";
import "./logs.js";
import "./live/scroll.js";
import "./switch.js";
import { start as times } from "./live/times.js";
import { start as live } from "./live/live.js";

times();
live();
