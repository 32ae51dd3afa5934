import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
