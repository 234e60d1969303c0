"""Where metres come from: fits of relative depth to a sensor or to the floor."""
