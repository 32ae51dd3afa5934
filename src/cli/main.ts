// The command's entry. Wires nothing yet.
export {};
