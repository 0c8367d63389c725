"""Tool calls: as the model writes them, as servers return them, and how a cut one goes on."""
