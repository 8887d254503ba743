//! No text whatever makes the reader fail in another way than with an error.

use super::*;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|boolean| boolean.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        Just("1e999".to_owned()),
        "[ -~é]{0,20}".prop_map(|text| format!("{text:?}").replace("\\'", "'")),
        prop::sample::select(vec![
            "\"901\"",
            "\"580.76.05\"",
            "\"nvidia\"",
            "\"0,1\"",
            "\"https://h/570.133.20\"",
            "\"{version\""
        ])
        .prop_map(str::to_owned),
    ];
    let key = prop::sample::select(
        [keys::SCALARS, keys::COMPOSED, keys::ROOT, keys::NETWORK, keys::MOUNT, keys::VOLUME, &["901", "902", "x"]]
            .concat(),
    );
    scalar.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::vec((key.clone(), inner), 0..8).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                format!("{{{}}}", members.join(",\n"))
            }),
        ]
    })
}

fn use_all(containers: &str, hypervisor: &str) {
    let Ok(configuration) = Configuration::of_texts(containers, Some(hypervisor)) else { return };
    let ids: Vec<ContainerId> = configuration.containers().map(|(id, _)| id).collect();
    let _ = configuration.in_dependency_order(&ids);
    for finding in configuration.findings() {
        assert!(!finding.render().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn of_the_right_shape_is_read_or_refused(entries in prop::collection::vec(value(), 1..4), root in value(), driver in value()) {
        let entries: Vec<String> = entries.iter().enumerate().map(|(n, entry)| format!("\"{}\": {entry}", 901 + n % 2)).collect();
        let text = format!("{{\"lxc_configs\": {{{}}}, \"nvidia_driver_version\": {root}}}", entries.join(","));
        use_all(&text, &format!("{{\"nvidia_driver\": {driver}, \"core_paths\": {driver}}}"));
    }

    #[test]
    fn of_any_shape_is_read_or_refused(text in "[ \\[\\]{}:,\"'/*a0.é\\\\\n-]{0,80}", other in value()) {
        use_all(&text, &other);
        use_all(&other, &text);
    }

    #[test]
    fn cut_or_changed_somewhere_is_read_or_refused(at in 0..REAL.len(), byte in prop::char::range(' ', '~')) {
        if REAL.is_char_boundary(at) && REAL.is_char_boundary(at + 1) {
            use_all(&REAL[..at], HYPERVISOR);
            use_all(&format!("{}{byte}{}", &REAL[..at], &REAL[at + 1..]), HYPERVISOR);
        }
    }
}
