"""Optional loss terms, one module each; `registry` names the configuration key that turns each of them on."""
