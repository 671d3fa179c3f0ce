use super::*;
use commonwatt_primitives::{Bps, MeterClass};
use frame_support::traits::{BuildGenesisConfig, Hooks};

fn build(config: GenesisConfig<Test>) {
    sp_io::TestExternalities::default().execute_with(|| config.build());
}

#[test]
fn the_defaults_are_those_of_the_protocol() {
    let config = GenesisConfig::<Test>::default();
    assert_eq!(config.correction_window, 96);
    assert_eq!(config.retention, 3_360);
    assert_eq!(config.plausibility_tolerance, Bps(11_000));
    build(config);
}

#[test]
#[should_panic(expected = "retention must be more than correctionWindow")]
fn a_retention_as_short_as_the_correction_window_is_refused() {
    build(GenesisConfig {
        correction_window: 96,
        retention: 96,
        ..Default::default()
    });
}

#[test]
#[should_panic(expected = "correctionWindow must be at least 1")]
fn an_empty_correction_window_is_refused() {
    build(GenesisConfig {
        correction_window: 0,
        ..Default::default()
    });
}

#[test]
#[should_panic(expected = "plausibilityTolerance must be at least 10000")]
fn a_tolerance_below_the_capacity_is_refused() {
    build(GenesisConfig {
        plausibility_tolerance: Bps(9_999),
        ..Default::default()
    });
}

#[test]
#[should_panic(expected = "every error in mpeTable must be at most 10000")]
fn a_permissible_error_above_the_whole_is_refused() {
    let mut config = GenesisConfig::<Test>::default();
    config.mpe_table.a.balanced[0] = Bps(10_001);
    build(config);
}

#[test]
fn the_limits_of_the_runtime_are_consistent() {
    EnergyToken::integrity_test();
}

#[test]
fn permissible_errors_are_those_of_the_directive() {
    let table = MpeTable::default();
    let error = |class, temperature, load| table.error_of(class, Conditions { temperature, load });
    use TemperatureBand::{Extreme, Normal, Severe, Wide};
    assert_eq!(error(MeterClass::A, Normal, Load::Balanced), Bps(350));
    assert_eq!(error(MeterClass::B, Wide, Load::Balanced), Bps(250));
    assert_eq!(error(MeterClass::C, Severe, Load::Balanced), Bps(130));
    assert_eq!(error(MeterClass::A, Wide, Load::LowCurrent), Bps(500));
    assert_eq!(error(MeterClass::C, Normal, Load::LowCurrent), Bps(100));
    assert_eq!(error(MeterClass::C, Extreme, Load::LowCurrent), Bps(200));
}

#[test]
fn a_chain_spec_names_its_values_in_camel_case() {
    let json = serde_json::to_value(GenesisConfig::<Test>::default()).expect("it is serializable");
    assert_eq!(json["correctionWindow"], 96);
    assert_eq!(json["plausibilityTolerance"], 11_000);
    assert_eq!(json["mpeTable"]["a"]["lowCurrent"][1], 500);
}
