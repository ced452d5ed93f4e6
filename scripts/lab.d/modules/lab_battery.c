// SPDX-License-Identifier: GPL-2.0
/*
 * A battery and a power adapter of the emulated host. Their values are the module's
 * parameters, which root writes in /sys/module/lab_battery/parameters: energies in uWh,
 * the power in uW, the voltage in uV, the status as a number of POWER_SUPPLY_STATUS_*
 * (1 charging, 2 discharging, 3 not charging, 4 full).
 */
#include <linux/module.h>
#include <linux/power_supply.h>

static int online = 1;
module_param(online, int, 0644);
static int present = 1;
module_param(present, int, 0644);
static int status = POWER_SUPPLY_STATUS_FULL;
module_param(status, int, 0644);
static int energy_now = 50000000;
module_param(energy_now, int, 0644);
static int power_now;
module_param(power_now, int, 0644);
static int voltage_now = 12345000;
module_param(voltage_now, int, 0644);

static int battery_get(struct power_supply *supply, enum power_supply_property property,
		       union power_supply_propval *value)
{
	switch (property) {
	case POWER_SUPPLY_PROP_PRESENT:
		value->intval = present;
		break;
	case POWER_SUPPLY_PROP_STATUS:
		value->intval = status;
		break;
	case POWER_SUPPLY_PROP_ENERGY_FULL_DESIGN:
		value->intval = 57000000;
		break;
	case POWER_SUPPLY_PROP_ENERGY_FULL:
		value->intval = 50000000;
		break;
	case POWER_SUPPLY_PROP_ENERGY_NOW:
		value->intval = energy_now;
		break;
	case POWER_SUPPLY_PROP_POWER_NOW:
		value->intval = power_now;
		break;
	case POWER_SUPPLY_PROP_VOLTAGE_MIN_DESIGN:
		value->intval = 11400000;
		break;
	case POWER_SUPPLY_PROP_VOLTAGE_NOW:
		value->intval = voltage_now;
		break;
	case POWER_SUPPLY_PROP_CYCLE_COUNT:
		value->intval = 42;
		break;
	default:
		return -EINVAL;
	}
	return 0;
}

static int adapter_get(struct power_supply *supply, enum power_supply_property property,
		       union power_supply_propval *value)
{
	if (property != POWER_SUPPLY_PROP_ONLINE)
		return -EINVAL;
	value->intval = online;
	return 0;
}

static const enum power_supply_property battery_properties[] = {
	POWER_SUPPLY_PROP_PRESENT,
	POWER_SUPPLY_PROP_STATUS,
	POWER_SUPPLY_PROP_ENERGY_FULL_DESIGN,
	POWER_SUPPLY_PROP_ENERGY_FULL,
	POWER_SUPPLY_PROP_ENERGY_NOW,
	POWER_SUPPLY_PROP_POWER_NOW,
	POWER_SUPPLY_PROP_VOLTAGE_MIN_DESIGN,
	POWER_SUPPLY_PROP_VOLTAGE_NOW,
	POWER_SUPPLY_PROP_CYCLE_COUNT,
};

static const enum power_supply_property adapter_properties[] = {
	POWER_SUPPLY_PROP_ONLINE,
};

static const struct power_supply_desc descriptions[] = {
	{
		.name = "LABBAT",
		.type = POWER_SUPPLY_TYPE_BATTERY,
		.properties = battery_properties,
		.num_properties = ARRAY_SIZE(battery_properties),
		.get_property = battery_get,
	},
	{
		.name = "LABAC",
		.type = POWER_SUPPLY_TYPE_MAINS,
		.properties = adapter_properties,
		.num_properties = ARRAY_SIZE(adapter_properties),
		.get_property = adapter_get,
	},
};

static struct power_supply *supplies[ARRAY_SIZE(descriptions)];

static void lab_battery_exit(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(supplies); i++)
		if (!IS_ERR_OR_NULL(supplies[i]))
			power_supply_unregister(supplies[i]);
}

static int __init lab_battery_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(supplies); i++) {
		supplies[i] = power_supply_register(NULL, &descriptions[i], NULL);
		if (IS_ERR(supplies[i])) {
			int error = PTR_ERR(supplies[i]);

			lab_battery_exit();
			return error;
		}
	}
	return 0;
}

module_init(lab_battery_init);
module_exit(lab_battery_exit);
MODULE_DESCRIPTION("A battery and a power adapter with any values");
MODULE_LICENSE("GPL");
