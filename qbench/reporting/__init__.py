"""Tables and figures of a study, made from its result files; nothing here trains."""
