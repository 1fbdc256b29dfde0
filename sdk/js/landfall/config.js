// The operator's configuration for this plugin (for an adapter: for this site). No secrets are ever in it.

import * as host from "landfall:plugin/config";

/** The value of this name, as text; `otherwise` if there is none. */
export const get = (name, otherwise) => host.get(name) ?? otherwise;

/** Every value by its name. */
export const all = () => Object.fromEntries(host.all());
