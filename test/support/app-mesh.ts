import { startApp, type TestApp } from "./app.ts";
import { atEnd } from "./at-end.ts";
import { type Mesh, type MeshOptions, startMesh } from "./mesh.ts";

/** A mesh before an app that answers so, for as long as the test runs. */
export async function appMesh(
  handler: Parameters<typeof startApp>[0],
  options: Omit<MeshOptions, "appPort"> = {},
): Promise<Mesh & { readonly app: TestApp }> {
  const app = await startApp(handler);
  atEnd(() => app.close());
  const mesh = await startMesh({ ...options, appPort: app.port });
  atEnd(() => mesh.close());
  return { ...mesh, app };
}
