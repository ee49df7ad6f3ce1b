//! The mappings that come with the program.
//!
//! In scope: the table of their files. Out of scope: what is in them. Invariant: the ranks of two are
//! never the same, so that which of them reads a record never hangs on their order here; tested.

/// Names and files; the name is the file's own.
pub(super) const BUILTIN: [(&str, &str); 15] = [
    ("generic", include_str!("../../catalogue/mappings/generic.toml")),
    ("aws-events", include_str!("../../catalogue/mappings/aws-events.toml")),
    ("azure", include_str!("../../catalogue/mappings/azure.toml")),
    ("cloudevents", include_str!("../../catalogue/mappings/cloudevents.toml")),
    ("cloudtrail", include_str!("../../catalogue/mappings/cloudtrail.toml")),
    ("github-audit", include_str!("../../catalogue/mappings/github-audit.toml")),
    ("github-webhook", include_str!("../../catalogue/mappings/github-webhook.toml")),
    ("google-cloud", include_str!("../../catalogue/mappings/google-cloud.toml")),
    ("google-workspace", include_str!("../../catalogue/mappings/google-workspace.toml")),
    ("kubernetes", include_str!("../../catalogue/mappings/kubernetes.toml")),
    ("microsoft365", include_str!("../../catalogue/mappings/microsoft365.toml")),
    ("ocsf", include_str!("../../catalogue/mappings/ocsf.toml")),
    ("okta", include_str!("../../catalogue/mappings/okta.toml")),
    ("otlp", include_str!("../../catalogue/mappings/otlp.toml")),
    ("windows", include_str!("../../catalogue/mappings/windows.toml")),
];
