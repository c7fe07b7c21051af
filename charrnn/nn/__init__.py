"""The mathematics, arrays in and arrays out: parameters, cells, the loop over time, losses, optimizers, schedules."""
