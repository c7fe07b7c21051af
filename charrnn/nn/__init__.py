"""The mathematics, as functions of arrays: parameters, cells, attention, losses, optimizers and schedules."""
