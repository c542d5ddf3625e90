// SPDX-License-Identifier: GPL-2.0
/* Loading, unloading, and what becomes of the node. */
#include "harness.h"

TEST(module_loads_and_unloads,
     .says = "the module loads and unloads", .stages = ALL_STAGES, .page = "lab1.md#loading")
{
}
