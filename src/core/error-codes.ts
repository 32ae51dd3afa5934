import { auditCodes } from "./codes/audit-codes.ts";
import { conditionCodes } from "./codes/condition-codes.ts";
import { configCodes } from "./codes/config-codes.ts";
import { doctorCodes } from "./codes/doctor-codes.ts";
import { egressCodes } from "./codes/egress-codes.ts";
import { federationCodes } from "./codes/federation-codes.ts";
import { httpCodes } from "./codes/http-codes.ts";
import { http2Codes } from "./codes/http2-codes.ts";
import { identityCodes } from "./codes/identity-codes.ts";
import { issuerCodes } from "./codes/issuer-codes.ts";
import { jwtSvidCodes } from "./codes/jwt-svid-codes.ts";
import { operationCodes } from "./codes/operation-codes.ts";
import { policyCodes } from "./codes/policy-codes.ts";
import { proxyCodes } from "./codes/proxy-codes.ts";
import { requestAuthCodes } from "./codes/request-auth-codes.ts";

/** The catalogue of stable codes: what each means, in one line, and what to do. Codes are never renamed or reused. */
export const errorCodes = {
  ...identityCodes,
  ...federationCodes,
  ...issuerCodes,
  ...jwtSvidCodes,
  ...policyCodes,
  ...conditionCodes,
  ...requestAuthCodes,
  ...configCodes,
  ...httpCodes,
  ...http2Codes,
  ...proxyCodes,
  ...egressCodes,
  ...auditCodes,
  ...operationCodes,
  ...doctorCodes,
} as const;

export type ErrorCode = keyof typeof errorCodes;
