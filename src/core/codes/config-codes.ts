import type { CodeEntry } from "./code-entry.ts";

export const configCodes = {
  E_CONFIG_UNSUPPORTED: {
    meaning: "the configuration asks for something that this version does not build",
    fix: "remove it, or wait for the version that has it",
  },
  E_CONFIG_FILE: {
    meaning: "a configuration or policy file cannot be read",
    fix: "check its path, its permissions and its size",
  },
  E_CONFIG_YAML: {
    meaning: "a file is not one well-formed YAML 1.2 document",
    fix: "correct the YAML at the place named",
  },
  E_CONFIG_ENV: {
    meaning: "a value needs an environment variable that is not set",
    fix: "set the variable, or give a default after :- in the braces",
  },
  E_CONFIG_KEY: {
    meaning: "a key is not known at this place",
    fix: "correct its spelling or remove it",
  },
  E_CONFIG_MISSING: {
    meaning: "a required key is missing",
    fix: "add the key",
  },
  E_CONFIG_VALUE: {
    meaning: "a value is not of the form that its key takes",
    fix: "write the value as the message says",
  },
  E_CONFIG_DUPLICATE: {
    meaning: "two things share a name or an address that must be unique",
    fix: "give one of them another",
  },
  E_CONFIG_EXPOSED: {
    meaning: "an outbound listener can be reached from beyond this machine without saying who may use it",
    fix: "listen on 127.0.0.1, ::1 or unix://, or list the users in allow.uids",
  },
  E_CONFIG_RESTART: {
    meaning: "a reload asks for a change that only a restart can make",
    fix: "restart the sidecar, or take the change back",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
