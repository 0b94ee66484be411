"""The section of prices: what AWS asks, for the estimates of costs."""

from pydantic import Field

from dagy_control.config.fields import Number, Section


class PriceSettings(Section):
    """Prices of Fargate in USD, for `estimated_cost_usd`: set them to those of your region, less what you are given off.

    The defaults are of us-east-1, Linux: "AWS Fargate Pricing" as it was quoted in March 2026.
    """

    x86_vcpu_hour_usd: Number = Field(0.04048, ge=0)
    """USD for a vCPU and hour on x86_64."""
    x86_memory_gb_hour_usd: Number = Field(0.004445, ge=0)
    """USD for a GB of memory and hour on x86_64."""
    arm_vcpu_hour_usd: Number = Field(0.03238, ge=0)
    """USD for a vCPU and hour on ARM."""
    arm_memory_gb_hour_usd: Number = Field(0.00356, ge=0)
    """USD for a GB of memory and hour on ARM."""
    storage_gb_hour_usd: Number = Field(0.000111, ge=0)
    """USD for a GB of ephemeral storage and hour, beyond the 20 that are included."""
    spot_discount: Number = Field(0.7, ge=0, le=1)
    """Share that Spot takes off vCPU and memory. AWS says up to 70 %; it changes with the region and the day."""
