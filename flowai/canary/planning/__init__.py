"""Plans rollouts from the calls of the release that serves: simulations with the project's policy, and power."""
