// Imported for its effect by whoever loads policies that may have conditions.
import { Environment } from "@marcbachmann/cel-js";
import { RE2JS } from "re2js";
import { provideCelLibraries } from "./cel-libraries.ts";

provideCelLibraries({ Environment, RE2JS });
