"""Prices on their way from the settings to the loops that estimate costs by them."""

from dagy_control.config import Settings
from dagy_control.entrypoints.policies import event_policy, price_table, reconcile_policy
from dagy_control.model.cost import PriceTable

DEARER = Settings(prices={"x86_vcpu_hour_usd": 0.05, "spot_discount": 0.5})


def test_the_default_prices_of_settings_and_model_are_the_same() -> None:
    assert price_table(Settings()) == PriceTable()


def test_events_and_passes_estimate_by_the_configured_prices() -> None:
    assert price_table(DEARER) == PriceTable(x86_vcpu_hour_usd=0.05, spot_discount=0.5)
    assert event_policy(DEARER).prices == reconcile_policy(DEARER).prices == price_table(DEARER)
