use clap::Args;
use serde::Serialize;

use super::status;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};
use crate::version;

/// Show the versions of this command and of the running services
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system version
  container system version --format json")]
pub struct Version {
    #[command(flatten)]
    format: FormatFlags,
}

/// The shape that Apple's container has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    app_name: String,
    build_type: String,
    commit: String,
    version: String,
}

impl Version {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut components = vec![Component {
            app_name: "container".to_owned(),
            build_type: version::BUILD.to_owned(),
            commit: version::COMMIT.to_owned(),
            version: version::VERSION.to_owned(),
        }];
        if let Some(reply) = status::ping(context).await {
            components.push(Component {
                app_name: reply.app_name,
                build_type: reply.build,
                commit: reply.commit,
                version: reply.version,
            });
        }
        output::write(self.format.format, &components, || table(&components))
    }
}

fn table(components: &[Component]) -> Table {
    let mut table = Table::new(["COMPONENT", "VERSION", "BUILD", "COMMIT"]);
    for component in components {
        table.row([
            component.app_name.clone(),
            component.version.clone(),
            component.build_type.clone(),
            component.commit.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_table_are_the_reference_s() {
        let component = Component {
            app_name: "container".into(),
            build_type: "release".into(),
            commit: "abcdef1".into(),
            version: "1.2.3".into(),
        };
        assert_eq!(
            serde_json::to_value([&component]).unwrap(),
            json!([{
                "appName": "container", "buildType": "release", "commit": "abcdef1", "version": "1.2.3"
            }])
        );
        assert_eq!(
            table(&[component]).render(),
            "COMPONENT  VERSION  BUILD    COMMIT\n\
             container  1.2.3    release  abcdef1\n"
        );
    }
}
