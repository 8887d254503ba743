//! The JSON schema of what `status --output json` prints, for those who read it with programs.

use schemars::{JsonSchema, Schema, schema_for};

use super::ContainerStatus;

/// One entry a container, in the order in which they were asked for.
#[derive(JsonSchema)]
#[schemars(rename = "phoenix-nvidia status", transparent, extend("version" = 2))]
#[expect(dead_code, reason = "the schema is made from the type alone")]
struct Rows(Vec<ContainerStatus>);

/// The schema, as text with a line break at its end.
pub fn schema() -> String {
    let schema: Schema = schema_for!(Rows);
    // The alternate form is indented; a JSON value can always be written.
    format!("{:#}\n", schema.as_value())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_checked_in_schema_is_that_of_the_type() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/schema/status.schema.json");
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            crate::sys::atomic::write(&path, super::schema().as_bytes(), 0o644).unwrap();
        }
        let checked_in = fs_err::read_to_string(&path).unwrap();
        assert!(
            checked_in == super::schema(),
            "`UPDATE_SCHEMAS=1 cargo test --lib schema` rewrites {}",
            path.display()
        );
    }
}
